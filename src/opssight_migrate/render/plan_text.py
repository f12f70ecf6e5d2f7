"""The plan as the operator reads it: lines of text, as wide as they need to be."""

from __future__ import annotations

from humanize import naturalsize

from opssight_migrate.model.plan import (
    PROMISED_MS,
    DatabaseFacts,
    Loss,
    Plan,
    PlannedStep,
    PromisedLock,
)
from opssight_migrate.render.phrases import count, counted, duration
from opssight_migrate.render.visible import visible

_KEPT_SHOWN = 8
_HEADINGS = ("#", "step", "kind", "rows", "undo", "time p50 / p90", "locks on existing tables")
_TO_THE_RIGHT = frozenset({0, 3})
_UNDO = _HEADINGS.index("undo")


def plan_lines(plan: Plan, *, dry_run: bool = False) -> list[str]:
    """Return everything that is to be read before saying yes."""
    lines = [heading(plan.environment, plan.database, plan.origin), _way(plan)]
    if plan.steps:
        rows = [_HEADINGS, *_rows(plan.steps)]
        if all(step.undo is None for step in plan.steps):
            rows = [(*row[:_UNDO], *row[_UNDO + 1 :]) for row in rows]
        lines += ["", *table(rows, _TO_THE_RIGHT), ""]
        if any(step.kind != "retire" for step in plan.steps):
            lines.append(_forecast(plan.steps))
        lines += _locked(plan.steps)
    lines += [visible(sentence) for sentence in plan.announcements]
    lines += loss_lines(plan.losses)
    lines += _kept(plan.kept)
    lines += shims_line(plan.shims_after)
    lines += blocker_lines(plan)
    if dry_run:
        lines.append(f"Dry run: nothing was changed. Plan {plan.digest}.")
    return lines


def heading(environment: str, database: DatabaseFacts, origin: str) -> str:
    """Return the line that says where we are, and who chose it."""
    server = f"PostgreSQL {database.server_version}"
    if database.timescaledb:
        server += f", TimescaleDB {database.timescaledb}"
    return visible(f"{environment}  {address(database)}  {server}  ({origin})")


def address(database: DatabaseFacts) -> str:
    """Return user@host:port/name; a host of a Unix socket stands in brackets."""
    host = f"[{database.host}]" if database.host.startswith("/") else database.host
    return visible(f"{database.user}@{host}:{database.port}/{database.name}")


def blocker_lines(plan: Plan) -> list[str]:
    """Return what stands in the way, each with what to do about it."""
    lines = []
    for blocker in plan.blockers:
        at = f" ({blocker.where})" if blocker.where and blocker.where not in blocker.message else ""
        lines.append(visible(f"blocked[{blocker.kind}]: {blocker.message}{at}"))
        if blocker.hint:
            lines.append(visible(f"  help: {blocker.hint}"))
    return lines


def loss_lines(losses: tuple[Loss, ...]) -> list[str]:
    """Return the loss ledger, each line with the query that lists its rows."""
    lines = []
    for one in losses:
        lines.append(visible(f"{one.kind}: {one.sentence}"))
        if one.query:
            lines.append(visible(f"  {one.query}"))
    return lines


def shims_line(shims: tuple[str, ...]) -> list[str]:
    """Say what stays beside the new schema until cleanup, counted by kind."""
    if not shims:
        return []
    kinds = {"default of ": "column default", "unique index ": "once-unique index"}
    counts = {
        noun: sum(shim.startswith(prefix) for shim in shims) for prefix, noun in kinds.items()
    }
    known = [counted(number, noun) for noun, number in counts.items() if number]
    others = len(shims) - sum(counts.values())
    known += [counted(others, "other object")] if others else []
    return [f"Will stay until cleanup: {', '.join(known)} (they keep the old release working)."]


def table(rows: list[tuple[str, ...]], to_the_right: frozenset[int]) -> list[str]:
    """Set columns side by side. The last one is as long as it likes; nothing is ever cut."""
    shown = [tuple(visible(cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = []
    for row in shown:
        cells = [
            cell.rjust(width) if place in to_the_right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _way(plan: Plan) -> str:
    start = plan.revision_from or "an empty database"
    way = f"revision {start}" + ("" if plan.revision_to == start else f" -> {plan.revision_to}")
    if plan.blockers:
        return visible(f"{way}, blocked")
    if not plan.steps:
        return visible(f"revision {start}, nothing to do")
    if all(step.kind == "retire" for step in plan.steps):
        return visible(f"revision {start}, {counted(len(plan.steps), 'thing')} to retire")
    schema = sum(step.kind == "schema" for step in plan.steps)
    data = len(plan.steps) - schema
    return visible(f"{way}, {counted(schema, 'revision')} and {counted(data, 'data step')}")


def _rows(steps: tuple[PlannedStep, ...]) -> list[tuple[str, ...]]:
    return [
        (
            str(number),
            _name(step) + (" (begun)" if step.begun else ""),
            step.kind,
            ("" if step.estimate.exact else "about ") + count(step.estimate.rows),
            step.undo or "-",
            f"{duration(step.forecast.p50_s)} / {duration(step.forecast.p90_s)}",
            _locks(step.estimate.locks),
        )
        for number, step in enumerate(steps, 1)
    ]


def _locks(promised: tuple[PromisedLock, ...]) -> str:
    """Say how many tables are locked, and how; one alone by its name."""
    if len(promised) == 1:
        return f"{promised[0].mode} {promised[0].relation} <{promised[0].at_most_ms} ms"
    if not promised:
        return "none"
    modes = dict.fromkeys(lock.mode for lock in promised)
    counts = ", ".join(f"{mode} {len(_tables(promised, mode))} x" for mode in modes)
    return f"{counts} <{max(lock.at_most_ms for lock in promised)} ms"


def _locked(steps: tuple[PlannedStep, ...]) -> list[str]:
    """Name the tables that each step locks."""
    lines = []
    for step in steps:
        modes = dict.fromkeys(lock.mode for lock in step.estimate.locks)
        named = [f"{mode} {', '.join(_tables(step.estimate.locks, mode))}" for mode in modes]
        if len(step.estimate.locks) > 1:
            lines.append(visible(f"Locks of {step.step_id}: {'; '.join(named)}."))
    return lines


def _tables(promised: tuple[PromisedLock, ...], mode: str) -> list[str]:
    return [lock.relation for lock in promised if lock.mode == mode]


def _name(step: PlannedStep) -> str:
    return f"{step.step_id} {step.title}" if step.kind == "schema" else step.step_id


def _forecast(steps: tuple[PlannedStep, ...]) -> str:
    """Say what the whole costs, and what the guess is made of."""
    p50_s = sum(step.forecast.p50_s for step in steps)
    p90_s = sum(step.forecast.p90_s for step in steps)
    wal = naturalsize(sum(step.estimate.wal_bytes for step in steps))
    runs = max(step.forecast.runs for step in steps)
    source = f"from {counted(runs, 'earlier run')} here" if runs else "from reference rates"
    forecast = f"Forecast: {duration(p50_s)}, at worst about {duration(p90_s)}, and {wal} of WAL"
    longest = max((k.at_most_ms for s in steps for k in s.estimate.locks), default=0)
    if longest > PROMISED_MS:
        return f"{forecast} ({source})."
    return f"{forecast} ({source}); no strong lock is asked for longer than {PROMISED_MS} ms."


def _kept(kept: tuple[str, ...]) -> list[str]:
    if not kept:
        return []
    more = len(kept) - _KEPT_SHOWN
    shown = ", ".join(kept[:_KEPT_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    return [visible(f"Kept as they are: {shown}.")]
