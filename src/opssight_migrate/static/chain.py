"""The chain as a graph: one head, one base, no gap, no cycle, no id twice, a way back."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from opssight_migrate.static.found import Found
from opssight_migrate.static.source import Source


def findings(sources: Sequence[Source]) -> list[Found]:
    """Return what is wrong with the chain, the most basic things first."""
    by_id: dict[str, Source] = {}
    found: list[Found] = []
    for source in sources:
        if source.revision in by_id:
            found.append(_duplicate(source, by_id[source.revision]))
        else:
            by_id[source.revision] = source
    gaps = list(_gaps(by_id))
    found += gaps
    circular = list(_cycle(by_id))
    if circular:
        found.append(_circle(circular, by_id))
    heads, bases = heads_of(by_id), [s for s in by_id.values() if not s.parents]
    if len(heads) > 1 and not gaps:  # a gap leaves a second head behind, by itself
        found.append(_two("two-heads", "heads", [by_id[head] for head in heads]))
    if len(bases) > 1:
        found.append(_two("two-bases", "beginnings", bases))
    return [*found, *_without_downgrade(sources)]


def in_order(sources: Iterable[Source]) -> list[Source]:
    """Return the revisions so that parents come first, as far as there is an order."""
    waiting = list(sources)
    done: set[str] = set()
    ordered: list[Source] = []
    ids = {source.revision for source in waiting}
    while waiting:
        ready = [s for s in waiting if all(p in done or p not in ids for p in s.parents)]
        if not ready:
            return ordered + waiting
        ordered += ready
        done |= {source.revision for source in ready}
        waiting = [source for source in waiting if source not in ready]
    return ordered


def heads_of(by_id: dict[str, Source]) -> list[str]:
    """Return the revisions that no other one follows."""
    followed = {parent for source in by_id.values() for parent in source.parents}
    return [revision for revision in by_id if revision not in followed]


def shared_parent(one: str, other: str, by_id: dict[str, Source]) -> str | None:
    """Return the newest revision that both come from; None if there is none."""
    above = list(_ancestors(one, by_id))
    return next((r for r in _ancestors(other, by_id) if r in above), None)


def _ancestors(revision: str, by_id: dict[str, Source]) -> Iterator[str]:
    waiting, seen = [revision], set()
    while waiting:
        current = waiting.pop(0)
        if current in seen or current not in by_id:
            continue
        seen.add(current)
        yield current
        waiting += by_id[current].parents


def _duplicate(source: Source, first: Source) -> Found:
    return Found(
        rule="duplicate-id",
        message=f"{source.revision} is the id of {first.path.name} already",
        path=source.path,
        line=source.line_of("revision"),
    )


def _gaps(by_id: dict[str, Source]) -> Iterator[Found]:
    for source in by_id.values():
        for parent in source.parents:
            if parent not in by_id:
                yield Found(
                    rule="gap",
                    message=f"{source.revision} follows {parent}, which is not there",
                    path=source.path,
                    line=source.line_of("down_revision"),
                )


def _cycle(by_id: dict[str, Source]) -> Iterator[str]:
    """Yield the revisions that are their own ancestors."""
    for revision, source in by_id.items():
        if any(revision in _ancestors(parent, by_id) for parent in source.parents):
            yield revision


def _circle(revisions: list[str], by_id: dict[str, Source]) -> Found:
    source = by_id[revisions[-1]]
    return Found(
        rule="cycle",
        message=f"these follow one another in a circle: {', '.join(revisions)}",
        path=source.path,
        line=source.line_of("down_revision"),
    )


def _two(rule: str, what: str, sources: Sequence[Source]) -> Found:
    names = " and ".join(f"{one.revision} ({one.path.name})" for one in sources)
    return Found(
        rule=rule,
        message=f"{len(sources)} {what}: {names}",
        path=sources[-1].path,
        line=sources[-1].line_of("down_revision"),
        hint=_mend(rule, sources),
    )


def _mend(rule: str, sources: Sequence[Source]) -> str | None:
    if rule != "two-heads" or len(sources) != 2:
        return None
    first, last = sources
    return f'in {last.path.name} write down_revision = "{first.revision}"'


def _without_downgrade(sources: Sequence[Source]) -> Iterator[Found]:
    for source in sources:
        function = source.functions.get("downgrade")
        if function is not None and not _does_nothing(function):
            continue
        if function is not None and (up := source.functions.get("upgrade")) and _does_nothing(up):
            continue  # a merge of two branches changes nothing, up or down
        yield Found(
            rule="no-downgrade",
            message=f"{source.revision} has no downgrade()"
            if function is None
            else f"the downgrade() of {source.revision} does nothing",
            path=source.path,
            line=1 if function is None else function.lineno,
        )


def _does_nothing(function: ast.FunctionDef) -> bool:
    return all(
        isinstance(node, ast.Pass | ast.Raise)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in function.body
    )
