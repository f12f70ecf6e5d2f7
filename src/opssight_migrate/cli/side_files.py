"""The files that a report is written to beside its result: HTML and JUnit XML."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from opssight_migrate.cli.destination import Destination
from opssight_migrate.model.report import Artifact, Report


class SideFiles:
    """Opened before anything is done, so that a typo costs no run; written at its end."""

    def __init__(self, html: Path | None = None, junit: Path | None = None) -> None:
        self._wanted = [("html", html, "--report"), ("junit", junit, "--junit")]
        self._open: list[tuple[str, Path, Destination]] = []

    def open(self) -> None:
        """Open each file that was named, readable by its owner alone.

        Raises: UsageError, if one cannot be written.
        """
        for kind, path, option in self._wanted:
            if path is not None:
                self._open.append((kind, path, Destination.open(path, option)))

    def write(self, report: Report) -> Report:
        """Write the files; the report that is shown then names them."""
        artifacts: list[Artifact] = []
        for kind, path, destination in self._open:
            text = _renderer(kind)(report)
            destination.write([text.rstrip("\n")])
            destination.close()
            body = (text.rstrip("\n") + "\n").encode(errors="backslashreplace")
            sha256 = hashlib.sha256(body).hexdigest()
            artifacts.append(Artifact(kind=kind, path=str(path), bytes=len(body), sha256=sha256))
        if not artifacts:
            return report
        return report.model_copy(update={"artifacts": (*report.artifacts, *artifacts)})


def _renderer(kind: str) -> Callable[[Report], str]:
    if kind == "junit":
        from opssight_migrate.render.junit import document

        return document
    from opssight_migrate.render.html import page

    return page
