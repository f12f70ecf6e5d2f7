"""The checksums of published revisions, in a file beside them that ``sha256sum -c`` reads too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from opssight_migrate.static.found import Found

FILE_NAME = "checksums.sha256"


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a file, whatever its line ends became on the way."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def written(folder: Path) -> dict[str, str] | None:
    """Return the checksum of each published file by its name; None where none were written."""
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    lines = [line.split(maxsplit=1) for line in path.read_text("utf-8").splitlines()]
    return {name.strip().lstrip("*"): digest for digest, name in (x for x in lines if len(x) == 2)}


def write(folder: Path, paths: list[Path]) -> Path:
    """Write the checksums of these files: they are published from now on."""
    lines = [f"{checksum(path.read_bytes())}  {path.name}\n" for path in sorted(paths)]
    target = folder / FILE_NAME
    target.write_text("".join(lines), "utf-8")
    return target


def findings(folder: Path, known: Mapping[str, str]) -> list[Found]:
    """Return the published files of ``folder`` that are edited, or gone."""
    found = []
    for name, digest in known.items():
        path = folder / name
        if not path.is_file():
            found.append(gone(path, f"{FILE_NAME} names it"))
        elif checksum(path.read_bytes()) != digest:
            found.append(edited(path, f"its checksum is not the one in {FILE_NAME}"))
    return found


def edited(path: Path, why: str) -> Found:
    """Say that a published file was edited."""
    return Found(
        rule="edited-revision", message=f"{path.name} is published: {why}", path=path, line=1
    )


def gone(path: Path, why: str) -> Found:
    """Say that a published file is not there any more."""
    return Found(rule="missing-revision", message=f"{path.name} is gone: {why}", path=path)
