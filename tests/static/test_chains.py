"""Small chains, each with exactly the findings that it was made for; ours has none."""

from __future__ import annotations

import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

from opssight_migrate.model.plan import Severity
from opssight_migrate.postgres import chain
from opssight_migrate.static import published, squawk
from opssight_migrate.static.inspection import inspect
from opssight_migrate.static.rules import CHAIN, COMMENTS, HAZARDS

CHAINS: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parents[1] / "data/chains.toml").read_text("utf-8")
)
# A revision around the body of an upgrade(); the body's first line is the one behind these.
HEAD = """\
import sqlalchemy as sa
from alembic import op
import helpers
from tables import made_elsewhere, users

revision = "one"
down_revision = None


def upgrade() -> None:
"""
TAIL = """

def downgrade() -> None:
    op.execute("SELECT 'undone'")
"""


def revision_text(facts: dict[str, Any]) -> str:
    """Write a revision file that has an id and a parent and changes nothing of note."""
    if "text" in facts:
        return str(facts["text"])
    lines = [f"revision = {facts['revision']!r}", f"down_revision = {facts.get('down')!r}"]
    lines += ["def upgrade():", "    create()"]
    if downgrade := facts.get("downgrade", "drop()"):
        lines += ["def downgrade():", f"    {downgrade}"]
    return "\n".join(lines) + "\n"


def write(folder: Path, chain: dict[str, Any]) -> None:
    """Write the files of a chain."""
    if body := chain.get("upgrade"):
        text = HEAD + textwrap.indent(body.strip("\n"), "    ") + TAIL
        (folder / "one.py").write_text(text, "utf-8")
    for name, facts in chain.get("files", {}).items():
        (folder / name).write_text(revision_text(facts), "utf-8")
    if "edited" in chain or "deleted" in chain:
        published.write(folder, list(folder.glob("*.py")))
    if "edited" in chain:
        with (folder / chain["edited"]).open("a") as edited:
            edited.write("# an afterthought\n")
    if "deleted" in chain:
        (folder / chain["deleted"]).unlink()


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_has_exactly_the_findings_that_it_was_made_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(squawk, "program", lambda: None)
    write(tmp_path, CHAINS[name])

    seen = inspect(tmp_path)

    above = HEAD.count("\n")
    told = [
        f"{one.line - above} {one.rule}"
        if "upgrade" in CHAINS[name]
        else f"{one.path.name}{f':{one.line}' if one.line else ''} {one.rule}"
        for one in (*seen.of_chain, *seen.of_hazards)
    ]
    assert told == CHAINS[name]["found"]


def test_there_are_enough_chains_and_every_rule_is_found_in_one_of_them() -> None:
    found = {line.split()[-1] for chain in CHAINS.values() for line in chain["found"]}

    assert len(CHAINS) >= 30
    assert found - {"unread"} == {rule.id for rule in (*CHAIN, *HAZARDS, *COMMENTS)}


def test_our_own_chain_has_no_finding_and_nothing_unread() -> None:
    assert squawk.program() is not None

    seen = inspect(chain.script_location() / "versions")

    assert seen.revisions == 7
    assert [*seen.of_chain, *seen.of_hazards] == []


def test_squawk_adds_what_we_do_not_look_for_at_the_line_where_it_stands(tmp_path: Path) -> None:
    body = 'op.execute("""\n    SELECT 1;\n    TRUNCATE a CASCADE;\n""")'
    write(tmp_path, {"upgrade": body})

    seen = inspect(tmp_path)

    found = {(one.rule, one.line - HEAD.count("\n")) for one in seen.of_hazards}
    assert found == {("whole-table-write", 3), ("squawk/ban-truncate-cascade", 3)}
    assert all(one.severity is Severity.FAIL for one in seen.of_hazards)


def test_a_revision_is_never_imported(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\n" + revision_text({"revision": "a"})
    )

    inspect(tmp_path)

    assert not (tmp_path / "ran").exists()


def test_line_ends_of_another_system_are_no_edit(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(revision_text({"revision": "a"}).encode())
    published.write(tmp_path, [path])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert inspect(tmp_path).of_chain == ()
