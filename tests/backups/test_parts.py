"""A dump in several archives on one snapshot: the same database comes out as went in."""

from __future__ import annotations

import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.backups.conftest import Key, Make
from tests.commands.conftest import everything

from opssight_migrate.backups import dump, parts, scratch, verification
from opssight_migrate.backups.shelf import Shelf, taken
from opssight_migrate.model.errors import BackupError, DamagedBackupError
from opssight_migrate.postgres import properties, siblings
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
restores = pytest.mark.needs_further_grants("a backup is restored into a new database")

_ODD = r"""
CREATE TABLE "Odd.*""na|me$" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, big text);
INSERT INTO "Odd.*""na|me$" (big) SELECT repeat(md5(n::text), 9) FROM generate_series(1, 3000) AS n;
CREATE TABLE odd (id int);
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
INSERT INTO parted VALUES (1), (2);
CREATE SCHEMA beside;
CREATE TABLE beside.kept AS SELECT 1 AS id;
CREATE VIEW beside.seen AS SELECT count(*) AS users FROM users;
SELECT lo_from_bytea(4711, 'a large object');
"""
_LARGE = "SELECT convert_from(lo_get(4711), 'UTF8')"
_SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
_DATABASES = "SELECT datname FROM pg_database ORDER BY 1"


@restores
def test_a_dump_in_parts_is_the_same_database(
    populated: Session, make: Make, key: Key, shelf: Shelf
) -> None:
    populated.execute(_ODD)

    made = make(populated, jobs=3, proves=True)

    held = [part.holds for part in made.manifest.parts]
    assert held == ["pre-data", "data", "data", "data", "post-data"]
    stem = made.manifest_path.name.removesuffix(".manifest.json")
    assert [path.name for path in made.paths] == [
        f"{stem}.{name}.dump.zst.age"
        for name in ("pre-data", "data-1", "data-2", "data-3", "post-data")
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in shelf.directory.iterdir()} == {0o600}
    assert made.manifest.proven
    assert made.path == made.manifest_path
    assert all(taken(path) == made for path in (*made.paths, made.manifest_path))
    verification.check_file(made, None)
    verification.check_seal(made, key.identities)
    like = properties.read_properties(populated)
    with scratch.scratch(populated, like, owner=like.owner) as name:
        verification.restore_into(made, key.identities, populated, name, as_owner=True)
        restored = siblings.sibling(populated, name, "test")
        try:
            after, before = everything(restored), everything(populated)
            assert after.rows == before.rows
            assert (after.catalogue, after.extras) == (before.catalogue, before.extras)
            assert restored.rows(_SEQUENCES) == populated.rows(_SEQUENCES)
            assert restored.scalar(_LARGE) == "a large object"
        finally:
            restored.close()


@restores
def test_damage_in_any_part_is_found_before_one_is_restored(
    populated: Session, make: Make, key: Key
) -> None:
    made = make(populated, jobs=2)
    before = populated.rows(_DATABASES)
    for path in made.paths:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        for look in (
            lambda: verification.check_file(made, None),
            lambda: verification.check_restore(made, key.identities, populated),
        ):
            with pytest.raises(DamagedBackupError):
                look()
        path.unlink()
        with pytest.raises(DamagedBackupError, match="No such file"):
            verification.check_file(made, None)
        path.write_bytes(whole)
    assert populated.rows(_DATABASES) == before
    described = json.loads(made.manifest_path.read_text())
    made.manifest_path.write_text(json.dumps({**described, "parts": []}))
    with pytest.raises(BackupError):
        taken(made.manifest_path)


@restores
def test_one_part_that_fails_ends_the_others_and_leaves_nothing(
    populated: Session, make: Make, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = dump.Dump.read
    begun: list[dump.Dump] = []

    def fail_the_second_of_the_data(self: dump.Dump, size: int = -1) -> bytes:
        if self not in begun:
            begun.append(self)
        if begun.index(self) == 2:
            self._process.kill()
        return read(self, size)

    monkeypatch.setattr(dump.Dump, "read", fail_the_second_of_the_data)

    with pytest.raises(BackupError, match="pg_dump ended with signal 9"):
        make(populated, jobs=3, proves=True)

    assert list(shelf.directory.iterdir()) == []
    assert all(one._process.poll() is not None for one in begun)


_sizes = st.dictionaries(st.text("ab.\"*'", min_size=1, max_size=4), st.integers(0, 10**9))


@given(_sizes, st.integers(1, 5))
def test_every_table_is_dealt_to_one_archive_and_none_is_far_from_the_least(
    sizes: dict[str, int], jobs: int
) -> None:
    stages = parts.cut(sizes, jobs)

    if jobs == 1 or len(sizes) < 2:
        assert stages == parts.WHOLE
        return
    before, data, after = stages
    assert [part.holds for part in (*before, *after)] == ["pre-data", "post-data"]
    excluded = _named(data[0], "--exclude-table-data=")
    own = [_named(part, "--table=") for part in data[1:]]
    assert sorted(excluded) == sorted(name for hand in own for name in hand)
    assert len(set(excluded)) == len(excluded) == len(sizes) - _left(sizes, excluded)
    by_pattern = {parts._pattern(table): size for table, size in sizes.items()}
    loads = [sum(by_pattern[name] for name in hand) for hand in own]
    loads.append(sum(sizes.values()) - sum(loads))
    # Dealing the biggest first is never off by more than one table.
    assert max(loads) - min(loads) <= max(sizes.values())


def _named(part: parts.Part, option: str) -> list[str]:
    return [one.removeprefix(option) for one in part.options if one.startswith(option)]


def _left(sizes: dict[str, int], excluded: list[str]) -> int:
    return sum(parts._pattern(table) not in excluded for table in sizes)


@pytest.mark.parametrize(
    ("stored", "cores", "jobs"),
    [(10**6, 8, 1), (10**9, 1, 1), (10**9, 3, 1), (10**9, 4, 2), (10**9, 64, 4)],
)
def test_more_than_one_is_taken_where_it_pays(
    stored: int, cores: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)

    assert parts.jobs_for({"users": stored // 2, "teams": stored // 2}) == jobs


def test_what_is_mostly_one_table_is_dumped_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    big = 100 * parts.PAYS_BYTES

    assert parts.jobs_for({"users": big, "teams": parts.PAYS_BYTES // 2 - 1}) == 1
    assert parts.jobs_for({"users": big, "teams": parts.PAYS_BYTES // 2}) == 3
