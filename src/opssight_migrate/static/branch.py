"""The chain as it will be once this branch is merged: git is asked, nothing is checked out."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from opssight_migrate.model.errors import UsageError
from opssight_migrate.static import chain, published
from opssight_migrate.static.found import Found
from opssight_migrate.static.source import Source, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The revision files at the other branch, and at the commit where the two parted."""

    name: str
    theirs: dict[str, bytes]
    parted: dict[str, bytes]


def read(folder: Path, base: str) -> Base:
    """Return what ``base`` (such as origin/main) has in ``folder``.

    Raises: UsageError, where there is no git, no repository or no such branch.
    """
    _git(folder, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}", about=base)
    parted = _git(folder, "merge-base", base, "HEAD", about=base).decode().strip()
    return Base(name=base, theirs=_files(folder, base), parted=_files(folder, parted))


def findings(folder: Path, sources: list[Source], base: Base) -> list[Found]:
    """Return what a merge into ``base`` would break."""
    found: list[Found] = []
    for name, content in base.theirs.items():
        path = folder / name
        if parse(path, content.decode("utf-8", "replace"))[0] is None:
            continue
        is_new_there = name not in base.parted
        if not path.is_file():
            found += [] if is_new_there else [published.gone(path, f"{base.name} has it")]
        elif published.checksum(path.read_bytes()) not in {
            published.checksum(content),
            published.checksum(base.parted.get(name, content)),
        }:
            found.append(published.edited(path, f"it differs from {base.name}"))
    return [*found, *_two_heads(folder, sources, base)]


def _two_heads(folder: Path, ours: list[Source], base: Base) -> list[Found]:
    """Look for heads that only the merge has: each side alone has one."""
    here = {source.revision: source for source in ours}
    merged = dict(here)
    for name, content in base.theirs.items():
        if not (folder / name).is_file() and name not in base.parted:
            source, _ = parse(folder / name, content.decode("utf-8", "replace"))
            if source is not None:
                merged.setdefault(source.revision, source)
    heads = chain.heads_of(merged)
    if len(heads) < 2 or len(chain.heads_of(here)) > 1:
        return []
    mine = next((head for head in heads if head in here), heads[0])
    other = next(head for head in heads if head != mine)
    parent = chain.shared_parent(mine, other, merged)
    first = _first_of(mine, parent, merged)
    return [
        Found(
            rule="two-heads",
            message=(
                f"merged with {base.name} there are two heads: {mine} ({merged[mine].path.name})"
                f" and {other} ({merged[other].path.name}), which both come from {parent}"
            ),
            path=first.path,
            line=first.line_of("down_revision"),
            hint=f'in {first.path.name} write down_revision = "{other}"',
        )
    ]


def _first_of(head: str, parent: str | None, by_id: dict[str, Source]) -> Source:
    """Return the revision of this branch that follows the shared parent."""
    current = by_id[head]
    while parent not in current.parents and current.parents and current.parents[0] in by_id:
        current = by_id[current.parents[0]]
    return current


def _files(folder: Path, commit: str) -> dict[str, bytes]:
    listed = _git(folder, "ls-tree", "--name-only", commit, "./", about=commit).decode()
    names = [name for name in listed.splitlines() if name.endswith(".py") and "/" not in name]
    return {name: _git(folder, "show", f"{commit}:./{name}", about=name) for name in names}


def _git(folder: Path, *args: str, about: str) -> bytes:
    try:
        command = ["git", "-C", str(folder), *args]
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        raise UsageError("--base: there is no git on PATH", hint="install git") from None
    if done.returncode != 0:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UsageError(
            f"--base: git cannot read {about}" + (f": {why[0]}" if why else ""),
            hint="fetch it first (in a CI job: a checkout with its whole history)",
        )
    return done.stdout
