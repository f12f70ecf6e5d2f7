"""The files that a report is written to beside its result: HTML, JUnit XML, metrics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from opssight_migrate.cli.destination import Destination, tell
from opssight_migrate.model.errors import UsageError
from opssight_migrate.model.report import Artifact, Report


class SideFiles:
    """Opened before anything is done, so that a typo costs no run; written at its end.

    ``metrics`` is replaced as a whole, since a collector may read it at any time.
    """

    def __init__(
        self, html: Path | None = None, junit: Path | None = None, metrics: Path | None = None
    ) -> None:
        self._metrics = metrics
        self._wanted = [("html", html, "--report"), ("junit", junit, "--junit")]
        self._open: list[tuple[str, Path, Destination]] = []

    def open(self) -> None:
        """Open each file that was named, readable by its owner alone.

        Raises: UsageError, if one cannot be written.
        """
        for kind, path, option in self._wanted:
            if path is not None:
                self._open.append((kind, path, Destination.open(path, option=option)))

    def write(self, report: Report) -> Report:
        """Write the files; the report that is shown then names them."""
        self._write_metrics(report)
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

    def _write_metrics(self, report: Report) -> None:
        """Write the metrics; that they cannot be written does not change how the verb ended."""
        if self._metrics is None:
            return
        from opssight_migrate.render.metrics import write_metrics

        try:
            write_metrics(self._metrics, report)
        except UsageError as error:
            tell([f"warning: {error.message}"])


def _renderer(kind: str) -> Callable[[Report], str]:
    if kind == "junit":
        from opssight_migrate.render.junit import document

        return document
    from opssight_migrate.render.html import page

    return page
