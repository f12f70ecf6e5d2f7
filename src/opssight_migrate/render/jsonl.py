"""Events as JSON lines, one a line, and the report as the last of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime

from opssight_migrate.model.events import Event, PlanMade
from opssight_migrate.model.report import Report, utc_now

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def event_name(event: Event) -> str:
    """Return what the event is called in JSON: BatchDone is "batch_done"."""
    return _CAPITAL.sub("_", type(event).__name__).lower()


def event_json(event: Event, at: datetime) -> str:
    """Return ``event`` as one line of JSON. It is ASCII: no text can end the line or hide in it."""
    body: dict[str, object] = {"event": event_name(event), "time": rfc3339(at)}
    if isinstance(event, PlanMade):
        body["plan_digest"] = event.plan.digest
    return json.dumps(body | asdict(event))


def report_json(report: Report) -> str:
    """Return the document as one line."""
    return json.dumps(report.model_dump(mode="json", by_alias=True))


def rfc3339(moment: datetime) -> str:
    """Return a UTC time to the millisecond, as RFC 3339 writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines:
    """Hands every event to ``write_line`` as it happens."""

    def __init__(
        self, write_line: Callable[[str], None], *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._write_line = write_line
        self._now = now

    def emit(self, event: Event) -> None:
        """Write one event."""
        self._write_line(event_json(event, self._now()))
