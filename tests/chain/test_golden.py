"""The catalogue after each revision is the published one, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opssight_migrate.opssight.golden import as_json
from opssight_migrate.opssight.revisions import REVISIONS
from opssight_migrate.postgres import reader
from opssight_migrate.postgres.session import Session

DATA = Path(__file__).parent.parent / "data"
IDS = [revision.id for revision in REVISIONS]


@pytest.mark.parametrize("revision", IDS)
def test_an_empty_database_gets_the_golden_catalogue(
    database_at: Callable[..., str], opened: Callable[[str], Session], revision: str
) -> None:
    session = opened(database_at(revision, filled=False))

    golden = (DATA / f"schema_{revision}.json").read_text(encoding="utf-8")
    assert as_json(reader.read_catalogue(session)) == golden
