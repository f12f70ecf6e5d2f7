"""The floor of cleanup always survives, whatever is asked for."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from opssight_migrate.backups.manifest import Manifest
from opssight_migrate.backups.shelf import Shelved
from opssight_migrate.commands import old_backups
from opssight_migrate.engine.floor import Candidate, above

NOW = datetime(2026, 11, 24, tzinfo=UTC)
_candidates = st.lists(
    st.builds(
        Candidate,
        name=st.text("ab", max_size=3),
        environment=st.sampled_from(["staging", "production"]),
        shelf=st.sampled_from([None, "journal", "rollback"]),
        at=st.integers(0, 90).map(lambda days: NOW - timedelta(days=days)),
        needed=st.booleans(),
    ),
    max_size=30,
)


@given(_candidates, st.integers(1, 6), st.integers(0, 90))
def test_the_floor_survives(all_: list[Candidate], keep_last: int, days: int) -> None:
    before = NOW - timedelta(days=days)

    going = above(all_, environment="staging", keep_last=keep_last, before=before)

    gone = {id(one) for one in going}
    left = [one for one in all_ if id(one) not in gone]
    assert len(gone) == len(going) == len(all_) - len(left)
    assert all(one in left for one in all_ if one.environment == "production")
    assert not any(one.needed or one.at >= before for one in going)
    for shelf in ("journal", "rollback"):
        ours = [one for one in all_ if (one.environment, one.shelf) == ("staging", shelf)]
        kept = [one for one in left if (one.environment, one.shelf) == ("staging", shelf)]
        assert len(kept) >= min(keep_last, len(ours))
        newest = sorted((one.at for one in ours), reverse=True)[:keep_last]
        assert not Counter(newest) - Counter(one.at for one in kept)


_backups = st.lists(
    st.tuples(
        st.sampled_from(["staging", "production"]),
        st.integers(0, 90),
        st.booleans(),
    ),
    max_size=25,
)


def _shelved(number: int, environment: str, days: int, *, proven: bool) -> Shelved:
    made_at = NOW - timedelta(days=days)
    said: dict[str, Any] = {"environment": environment, "made_at": made_at, "proven": proven}
    manifest = Manifest.model_construct(None, **said)
    path = Path(f"backup_{environment}_{number}.manifest.json")
    return Shelved(manifest_path=path, manifest=manifest, manifest_sha256="")


@given(_backups, st.integers(1, 6), st.integers(0, 90), st.booleans())
def test_of_backups_the_newest_and_the_newest_proven_one_survive(
    made: list[tuple[str, int, bool]], keep_last: int, days: int, is_unfinished: bool
) -> None:
    before = NOW - timedelta(days=days)
    lying = [_shelved(n, where, age, proven=proven) for n, (where, age, proven) in enumerate(made)]
    ours = {one.manifest_path.name: one for one in lying if one.manifest.environment == "staging"}

    # Whatever somebody hands over, another environment's stays.
    everybodys = [
        candidate
        for environment in ("staging", "production")
        for candidate in old_backups.candidates(
            {
                one.manifest_path.name: one
                for one in lying
                if one.manifest.environment == environment
            },
            environment,
            is_unfinished=is_unfinished,
        )
    ]
    going = above(everybodys, environment="staging", keep_last=keep_last, before=before)

    gone = {one.name for one in going}
    left = [one.manifest for name, one in ours.items() if name not in gone]
    assert gone <= ours.keys()
    assert not (is_unfinished and gone)
    assert all(ours[name].manifest.made_at < before for name in gone)
    assert len(left) >= min(keep_last, len(ours))
    newest = sorted((one.manifest.made_at for one in ours.values()), reverse=True)[:keep_last]
    assert not Counter(newest) - Counter(one.made_at for one in left)
    proven = [one.manifest.made_at for one in ours.values() if one.manifest.proven]
    if proven:
        assert max(proven) in [one.made_at for one in left if one.proven]


@given(_candidates, st.integers(1, 6), st.integers(0, 90))
def test_what_is_above_the_floor_goes(all_: list[Candidate], keep_last: int, days: int) -> None:
    before = NOW - timedelta(days=days)

    once = above(all_, environment="staging", keep_last=keep_last, before=before)
    left = [one for one in all_ if id(one) not in {id(gone) for gone in once}]

    assert above(left, environment="staging", keep_last=keep_last, before=before) == ()
    assert list(once) == sorted(once, key=lambda one: one.at)
    # An old thing that counts on no shelf, and that nobody needs, has no reason to stay.
    assert not any(
        one.shelf is None and not one.needed and one.at < before and one.environment == "staging"
        for one in left
    )
