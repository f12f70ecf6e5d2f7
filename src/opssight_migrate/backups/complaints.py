"""What a client program said when it failed, as an error that says what to do about it."""

from __future__ import annotations

import re
from typing import IO

from opssight_migrate.model.errors import BackupError
from opssight_migrate.postgres.failures import masked

_LINES = 5
_NO_ROLE = re.compile(r'role "(.+?)" does not exist')
# In PostgreSQL 16 and newer; before.
_NOT_A_MEMBER = re.compile(r'must be (?:able to SET ROLE|member of role) "(.+?)"')
_FULL = "No space left on device"


def words(said: IO[bytes]) -> str:
    """Return the first lines that a program wrote, without what looks like a password."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return masked("; ".join(lines[:_LINES]))


def not_restored(text: str) -> BackupError:
    """Return the error of a restore that failed with these words."""
    again = "and give the same command again"
    hint = f"mend that, {again}"
    if _FULL in text:
        hint = f"make room on the server's disk, {again}"
    elif missing := _NO_ROLE.search(text):
        hint = f'the backup speaks of a role that is gone: CREATE ROLE "{missing[1]}", {again}'
    elif owner := _NOT_A_MEMBER.search(text):
        hint = f'what is restored belongs to "{owner[1]}": GRANT "{owner[1]}" TO this role, {again}'
    return BackupError(f"the dump cannot be restored: {text or 'it said nothing'}", hint=hint)
