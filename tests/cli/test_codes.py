"""Every error code and every exit code, reached by a real process through a real cause."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli import backup_causes, causes
from tests.cli.causes import Cause, Scene

from opssight_migrate.model.errors import ExitCode, RowsWouldBeLostError
from opssight_migrate.model.explanations import published
from opssight_migrate.opssight.revisions import MULTI_TENANCY, RBAC

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

ROOT = Path(__file__).parents[2]
CAUSES: dict[str, Cause] = {
    "OM101": causes.wrong_option,
    "OM102": causes.unreadable_configuration,
    "OM103": causes.unknown_environment,
    "OM104": causes.another_environments_database,
    "OM201": causes.nobody_listens,
    "OM202": causes.no_place_for_the_embedded_server,
    "OM301": causes.a_view_over_what_goes,
    "OM302": causes.a_table_is_missing,
    "OM303": causes.a_role_without_rights,
    "OM304": causes.a_standby,
    "OM305": causes.a_pooler_in_transaction_mode,
    "OM307": causes.a_server_of_last_decade,
    "OM308": causes.a_published_table,
    "OM309": causes.a_statement_that_becomes_ambiguous,
    "OM313": causes.a_plan_of_yesterday,
    "OM314": causes.somebody_who_is_no_operator,
    "OM321": backup_causes.a_key_that_no_program_can_be_given,
    "OM322": backup_causes.another_environments_backup,
    "OM323": backup_causes.a_required_backup_without_a_key,
    "OM324": backup_causes.a_script_with_a_command,
    "OM325": backup_causes.rows_written_while_it_asks,
    "OM326": backup_causes.tables_that_grew_beyond_the_disk,
    "OM401": causes.another_run,
    "OM402": causes.a_lock_that_is_held,
    "OM403": causes.a_long_transaction,
    "OM501": causes.a_run_that_cannot_be_undone,
    "OM502": causes.the_server_refuses_a_statement,
    "OM503": causes.an_administrator_ends_the_backend,
    "OM504": causes.a_newer_run,
    "OM505": causes.rows_that_a_constraint_refuses,
    "OM506": causes.the_server_s_disk_is_full,
    "OM507": causes.rows_that_nobody_took_away,
    "OM508": causes.a_run_that_cannot_succeed,
    "OM509": causes.a_deadline,
    "OM601": causes.nobody_to_ask,
    "OM602": causes.ctrl_c,
    "OM603": causes.sigterm,
    "OM700": causes.a_broken_installation,
    "OM801": backup_causes.no_such_backup,
    "OM802": backup_causes.a_damaged_backup,
    "OM803": backup_causes.another_key,
    "OM804": backup_causes.a_manifest_that_is_none,
    "OM805": backup_causes.a_backup_that_is_not_what_its_manifest_says,
}
# Our rollback archives such rows: only plain Alembic has to refuse.
OF_ALEMBIC = RowsWouldBeLostError.code
# The ends that are no error: test_matrix.py has all of them.
WITHOUT_A_CODE = {ExitCode.OK, ExitCode.FINDINGS, ExitCode.PENDING}


@pytest.mark.parametrize("code", CAUSES)
def test_a_code_is_reached_by_a_real_cause(scene: Scene, code: str) -> None:
    ended = CAUSES[code](scene)

    assert f"error[{code}]: " in ended.said, ended.said
    assert ended.code == published()[code].exit_code
    assert re.search(r"^state: \S", ended.said, re.MULTILINE)
    assert re.search(r"^help:  \S", ended.said, re.MULTILINE)
    assert "Traceback" not in ended.said


def test_plain_alembic_refuses_to_take_rows_with_it(scene: Scene) -> None:
    url = scene.database_at(RBAC)
    scene.connected(url).execute(
        "INSERT INTO user_roles (user_id, role_id, organization_id, is_active)"
        " SELECT u.id, r.id, u.organization_id, true FROM users AS u, roles AS r LIMIT 1"
    )

    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-x", f"url={url}", "downgrade", MULTI_TENANCY],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 255
    assert f"FAILED: {OF_ALEMBIC}: the downgrade would take rows with it" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_every_code_and_every_exit_code_has_a_cause() -> None:
    assert set(CAUSES) | {OF_ALEMBIC} == set(published())
    reached = {published()[code].exit_code for code in CAUSES}
    assert reached | WITHOUT_A_CODE == set(ExitCode)
