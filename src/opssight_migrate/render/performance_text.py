"""What was measured of queries and server, in words: in full, or in two lines."""

from __future__ import annotations

from humanize import naturalsize

from opssight_migrate.model.report import Performance, QueryTime, Report, ServerLoad
from opssight_migrate.render.phrases import milliseconds
from opssight_migrate.render.plan_text import table
from opssight_migrate.render.visible import visible

_TO_THE_RIGHT = frozenset({1, 2, 3, 4})
_CATEGORY = "performance"


def performance_lines(report: Report) -> list[str]:
    """Return every query where nothing else was asked for, else the slowest of them."""
    found = report.performance
    if found is None or report.command != "verify":
        return []
    alone = all(check.category == _CATEGORY for check in report.checks)
    lines = _every_query(found) if alone else _the_slowest(found)
    return [*lines, *([visible(server_sentence(found.server))] if found.server else [])]


def pages_of(query: QueryTime) -> tuple[str, str]:
    """Return the pages that a query touches now, and before."""
    before = "-" if query.baseline_pages is None else f"{query.baseline_pages:,}"
    return f"{query.pages:,}", before


def times_of(query: QueryTime) -> tuple[str, str]:
    """Return the time that a query takes now, and before."""
    before = "-" if query.baseline_us is None else milliseconds(query.baseline_us)
    return milliseconds(query.median_us), before


def server_sentence(server: ServerLoad) -> str:
    """Say how busy the server is, and what of that nobody knows."""
    parts = [f"{server.connections} of {server.connections_most} connections in use"]
    if server.cache_hit is not None:
        parts.append(f"{server.cache_hit:.1%} of page reads from its cache")
    if server.index_use is not None:
        parts.append(f"{server.index_use:.1%} of scans by index")
    machine = server.machine
    if machine is None:
        parts.append("CPU and memory not known (its data directory is not seen on this machine)")
    else:
        free, all_of_it = naturalsize(machine.available_bytes), naturalsize(machine.memory_bytes)
        own = "not known" if machine.server_bytes is None else naturalsize(machine.server_bytes)
        parts.append(
            f"CPU {machine.cpu_percent:.0f} % (its own {machine.server_cpu_percent:.0f} %)"
        )
        parts.append(f"memory {free} free of {all_of_it} (its own {own})")
    return f"server: {', '.join(parts)}"


def _every_query(found: Performance) -> list[str]:
    rows = [
        (query.id, *times_of(query), *pages_of(query), query.verdict) for query in found.queries
    ]
    head = ("query", "now", "before", "pages", "before", "")
    return ["", *table([head, *rows], _TO_THE_RIGHT), ""] if rows else []


def _the_slowest(found: Performance) -> list[str]:
    if not found.queries:
        return []
    slowest = max(found.queries, key=lambda query: query.median_us)
    now, before = times_of(slowest)
    against = "" if before == "-" else f", {before} before"
    many = "1 query" if len(found.queries) == 1 else f"{len(found.queries)} queries"
    return [visible(f"{many} measured; the slowest is {slowest.id}, {now}{against}")]
