"""``check`` as a developer and a CI job meet it: text, document, annotations, JUnit, exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from tests.cli.test_usage import run

from opssight_migrate.model.errors import ExitCode
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import chain

BAD = """\
from alembic import op
revision = "b"
down_revision = None
def upgrade():
    op.drop_table("users")
def downgrade():
    op.execute("SELECT 1")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A repository whose pyproject.toml names a chain with one hazard."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "alembic/versions").mkdir(parents=True)
    (tmp_path / "alembic/versions/b.py").write_text(BAD)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.alembic]\nscript_location = "%(here)s/alembic"\n'
    )
    return tmp_path


def test_a_finding_is_a_line_that_an_editor_can_open(place: Path) -> None:
    done = run("check", cwd=place)

    assert done.returncode == ExitCode.FINDINGS
    assert done.stderr == ""
    assert "alembic/versions/b.py:5: error[drop-table]: drops users\n  help: drop it in" in (
        done.stdout
    )
    assert "\nnext: opssight-migrate explain drop-table  (why this hurts)\n" in done.stdout


def test_only_one_part_is_looked_at_where_one_is_asked_for(place: Path) -> None:
    assert run("check", "--only", "chain", cwd=place).returncode == 0
    assert run("check", "--only", "hazards", cwd=place).returncode == 1
    done = run("check", "--only", "hazard", cwd=place)
    assert done.returncode == ExitCode.USAGE
    assert 'did you mean "hazards"?' in done.stderr


def test_a_mistake_in_the_configuration_is_a_finding(place: Path) -> None:
    (place / "opssight.toml").write_text("[defaults]\nlock_bugdet = '5m'\n")
    done = run("check", "--only", "configuration", "-o", "json", cwd=place)
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == ExitCode.FINDINGS
    assert document["diagnostics"][0]["code"] == "OM102"
    assert document["diagnostics"][0]["location"] == "opssight.toml:2"


def test_annotations_and_junit_name_the_file_and_the_line(place: Path) -> None:
    done = run("check", "-o", "github", "--junit", "out.xml", cwd=place)
    assert done.returncode == ExitCode.FINDINGS
    assert (
        "::error file=alembic/versions/b.py,line=5,title=drop-table::error[drop-table]: drops users"
        in done.stdout
    )
    (suite,) = ET.parse(place / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    (failed,) = suite.findall("testcase[failure]")
    assert failed.get("file") == "alembic/versions/b.py"
    assert failed.get("name") == "drop-table alembic/versions/b.py:5"


def test_checksums_make_an_edit_a_finding(place: Path) -> None:
    assert run("check", "--only", "chain", "--write-checksums", cwd=place).returncode == 0
    (place / "alembic/versions/b.py").write_text(BAD + "# later\n")
    done = run("check", "--only", "chain", cwd=place)
    assert done.returncode == ExitCode.FINDINGS
    assert "error[edited-revision]: b.py is published" in done.stdout


def test_our_own_chain_is_published_and_an_edit_of_it_is_found(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "migrations"
    shutil.copytree(chain.script_location(), folder)
    named = (folder / "versions" / "checksums.sha256").read_text()
    assert named.count("\n") == len(revisions.REVISIONS)
    assert all(one.id in named for one in revisions.REVISIONS)

    clean = run("check", "--script-location", "migrations", cwd=tmp_path)
    assert clean.returncode == 0
    assert "not looked for" not in clean.stdout + clean.stderr
    (edited,) = (folder / "versions").glob("3fd5b7393728_*.py")
    edited.write_text(edited.read_text() + "# later\n")
    done = run("check", "--script-location", "migrations", cwd=tmp_path)
    assert done.returncode == ExitCode.FINDINGS
    assert f"error[edited-revision]: {edited.name} is published" in done.stdout


def test_check_imports_no_driver(place: Path) -> None:
    code = (
        "import sys, atexit\n"
        "heavy = ('sqlalchemy', 'alembic', 'psycopg')\n"
        "atexit.register(lambda: print('IMPORTED', [m for m in heavy if m in sys.modules]))\n"
        "from opssight_migrate.__main__ import main\n"
        "main()\n"
    )
    done = run("check", "--script-location", "alembic", cwd=place, code=code)
    assert done.stdout.splitlines()[-1] == "IMPORTED []"


def test_each_hook_runs_what_it_says(place: Path) -> None:
    hooks = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text())
    codes = {}
    for hook in hooks:
        program, *words = hook["entry"].split()
        assert program == "opssight-migrate"
        codes[hook["id"]] = run(*words, cwd=place).returncode
    assert codes == {"opssight-chain": 0, "opssight-hazards": 1, "opssight-configuration": 0}


def test_the_shipped_chain_is_looked_at_where_there_is_no_other(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "opssight_migrate", "check", "-o", "json"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert "(7 revisions)" in json.loads(done.stdout)["checks"][1]["title"]
