"""One Alembic directory, looked at as a whole: its chain, its hazards, what could not be read."""

from __future__ import annotations

import configparser
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opssight_migrate.model.errors import UsageError
from opssight_migrate.static import branch, chain, comments, hazards, published, squawk
from opssight_migrate.static.found import Found
from opssight_migrate.static.rules import CHAIN
from opssight_migrate.static.source import Source, parse
from opssight_migrate.static.walk import walk

_OF_THE_CHAIN = {rule.id for rule in CHAIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What was found in ``folder``; ``notes`` are what could not be looked at, and why."""

    folder: Path
    revisions: int
    of_chain: tuple[Found, ...]
    of_hazards: tuple[Found, ...]
    notes: tuple[str, ...]


def versions_folder(location: Path) -> Path:
    """Return the folder with the revision files: ``versions``, or the location itself.

    Raises: UsageError, where there is no such folder.
    """
    folder = location / "versions" if (location / "versions").is_dir() else location
    if not folder.is_dir():
        raise UsageError(
            f"--script-location: there is no folder {location}",
            hint="name the folder that holds env.py and versions/",
        )
    return folder


def location_in(directory: Path) -> Path | None:
    """Return the script_location that pyproject.toml or alembic.ini name; None if neither does."""
    here = str(directory)
    project, ini = directory / "pyproject.toml", directory / "alembic.ini"
    named: object = None
    if project.is_file():
        try:
            tool = tomllib.loads(project.read_text("utf-8")).get("tool", {})
        except ValueError:
            tool = {}
        named = tool.get("alembic", {}).get("script_location")
    if named is None and ini.is_file():
        parser = configparser.RawConfigParser()
        try:
            parser.read(ini, "utf-8")
            named = parser.get("alembic", "script_location", fallback=None)
        except configparser.Error:
            named = None
    if not isinstance(named, str) or ":" in named:  # package:folder is not a path
        return None
    return directory / named.replace("%(here)s", here).replace("%%", "%")


def inspect(folder: Path, *, base: str | None = None) -> Inspected:
    """Look at every revision of ``folder``; ``base`` is the branch it will be merged into.

    Raises: UsageError, where ``base`` cannot be read.
    """
    sources: list[Source] = []
    found: list[Found] = []
    texts: dict[Path, str] = {}
    for path in sorted(folder.glob("*.py")):
        texts[path] = path.read_text("utf-8", "replace")
        source, problems = parse(path, texts[path])
        found += problems
        sources += [source] if source else []
    found += chain.findings(sources)
    notes: list[str] = []
    known = published.written(folder)
    if known is not None:
        found += published.findings(folder, known)
    if base is not None:
        found += [f for f in branch.findings(folder, sources, branch.read(folder, base)) if f]
    elif known is None:
        notes.append("edited revisions were not looked for: no checksums, and no --base")
    found += _hazards(sources, notes)
    found = _once(found)
    left = _allowed(texts, found)
    return Inspected(
        folder=folder,
        revisions=len(sources),
        of_chain=tuple(f for f in left if f.rule in _OF_THE_CHAIN),
        of_hazards=tuple(f for f in left if f.rule not in _OF_THE_CHAIN),
        notes=tuple(notes),
    )


def _hazards(sources: Sequence[Source], notes: list[str]) -> list[Found]:
    checked = hazards.Checked()
    program = squawk.program()
    found: list[Found] = []
    for source in chain.in_order(sources):
        walked = walk(source)
        found += [*hazards.findings(source.path, walked.changes, checked), *walked.unread]
        if program is not None:
            found += squawk.findings(program, source.path, walked.texts)
    if program is None:
        notes.append("squawk was not asked: it comes with opssight-migrate[squawk]")
    return found


def _once(found: Sequence[Found]) -> list[Found]:
    """Leave out what a loop, or the checksums and git, said twice."""
    kept: dict[tuple[object, ...], Found] = {}
    for one in found:
        is_whole = one.rule in ("edited-revision", "missing-revision")
        kept.setdefault((one.rule, one.path, one.line, "" if is_whole else one.message), one)
    return list(kept.values())


def _allowed(texts: dict[Path, str], found: Sequence[Found]) -> list[Found]:
    left = [one for one in found if one.path not in texts]
    for path, text in texts.items():
        left += comments.applied(path, text, [one for one in found if one.path == path])
    return sorted(left, key=lambda one: (one.path, one.line, one.rule))
