"""A branch of git as it will be once it is merged."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from opssight_migrate.model.errors import UsageError
from opssight_migrate.static.inspection import Inspected, inspect


def git(folder: Path, *args: str) -> None:
    """Run git as somebody without a configuration."""
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(folder), *args],
        check=True,
        capture_output=True,
    )


def add(folder: Path, revision: str, down: str | None, extra: str = "") -> Path:
    """Write a revision and commit it."""
    path = folder / f"{revision}.py"
    path.write_text(
        f"revision = {revision!r}\ndown_revision = {down!r}\n"
        f"def upgrade():\n    up()\ndef downgrade():\n    down(){extra}\n"
    )
    git(folder, "add", "-A")
    git(folder, "commit", "-m", revision)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with a -> b on main, checked out on a branch of its own."""
    made = tmp_path / "migrations"
    made.mkdir()
    git(tmp_path, "init", "-b", "main")
    add(made, "a", None)
    add(made, "b", "a")
    git(tmp_path, "checkout", "-b", "feature")
    return made


def told(seen: Inspected) -> list[str]:
    return [one.rule for one in seen.of_chain]


def test_two_branches_that_both_add_a_revision_are_told_how_to_mend_it(folder: Path) -> None:
    add(folder, "c", "b")
    add(folder, "d", "c")
    git(folder, "checkout", "-q", "main")
    add(folder, "x", "b")
    git(folder, "checkout", "-q", "feature")

    (found,) = inspect(folder, base="main").of_chain

    assert found.rule == "two-heads"
    assert found.message == (
        "merged with main there are two heads: d (d.py) and x (x.py), which both come from b"
    )
    assert (found.path.name, found.line) == ("c.py", 2)
    assert found.hint == 'in c.py write down_revision = "x"'

    text = (folder / "c.py").read_text().replace("down_revision = 'b'", 'down_revision = "x"')
    (folder / "c.py").write_text(text)
    git(folder, "commit", "-am", "follow x")
    git(folder, "-c", "core.editor=true", "merge", "--no-edit", "main")
    assert inspect(folder, base="main").of_chain == ()


def test_a_revision_that_the_base_has_is_published(folder: Path) -> None:
    with (folder / "a.py").open("a") as edited:
        edited.write("# edited\n")
    (folder / "b.py").unlink()
    add(folder, "c", "a")

    assert told(inspect(folder, base="main")) == ["edited-revision", "missing-revision"]


def test_a_branch_that_is_only_behind_has_no_finding(folder: Path) -> None:
    git(folder, "checkout", "-q", "main")
    add(folder, "x", "b")
    git(folder, "checkout", "-q", "feature")

    assert told(inspect(folder, base="main")) == []


def test_a_base_that_git_does_not_know_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="git cannot read origin/none"):
        inspect(folder, base="origin/none")
