"""Plans as EXPLAIN (FORMAT JSON) gives them: as text, as a shape, and by what they read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_CONDITIONS = ("Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Filter", "Sort Key")
_WITHOUT_CHOICE = ("Seq Scan", "Sample Scan")
_BY_INDEX = ("Index Scan", "Index Only Scan")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """One plan. Its run touched ``pages`` and looked at ``rows`` of tables.

    ``lines`` are for people; two plans of the same ``shape`` do the same by the same indexes.
    ``whole`` has the rows of each table that is read from end to end.
    """

    lines: tuple[str, ...]
    shape: str
    tables: tuple[str, ...]
    pages: int = 0
    rows: int = 0
    whole: Mapping[str, int] = field(default_factory=dict[str, int])


def read(document: Mapping[str, Any]) -> QueryPlan:
    """Return what an answer of EXPLAIN says; without ANALYZE it has touched nothing."""
    root = document["Plan"]
    nodes = list(_nodes(root))
    scans = [node for node in nodes if "Relation Name" in node]
    return QueryPlan(
        lines=tuple(_lines(root)),
        shape=" > ".join(_named(node) for node in nodes),
        tables=tuple(dict.fromkeys(node["Relation Name"] for node in scans)),
        pages=_pages(root),
        rows=round(sum(_looked_at(node) * node.get("Actual Loops", 0) for node in scans)),
        whole={n["Relation Name"]: _size(n) for n in scans if n["Node Type"] in _WITHOUT_CHOICE},
    )


def reads_whole(document: Mapping[str, Any], tables: Sequence[str]) -> list[str]:
    """Return those of ``tables`` that a plan reads from end to end."""
    return [
        node["Relation Name"]
        for node in _nodes(document["Plan"])
        if node.get("Relation Name") in tables
        and (
            node["Node Type"] in _WITHOUT_CHOICE
            or (node["Node Type"] in _BY_INDEX and "Index Cond" not in node)
        )
    ]


def growth(before: QueryPlan, now: QueryPlan) -> float:
    """Return how many times as much a query has to do because there are more rows, 1 or more.

    The same plan tells by the rows that it looks at. Where the plan is another one, the tables
    that were read whole before and are now; a query that has lost its index has not grown.
    """
    if before.shape == now.shape:
        return max(now.rows / max(before.rows, 1), 1.0)
    both = before.whole.keys() & now.whole.keys()
    return max((now.whole[table] / max(before.whole[table], 1) for table in both), default=1.0)


def _looked_at(node: Mapping[str, Any]) -> float:
    """Return the rows that a scan looks at each time; 0 where it was planned only."""
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return float(node.get("Actual Rows", 0) + sum(node.get(name, 0) for name in removed))


def _size(node: Mapping[str, Any]) -> int:
    """Return the rows of a table that is read whole; parallel workers read a part each."""
    parts = node.get("Actual Loops", 1) if node.get("Parallel Aware") else 1
    return round(_looked_at(node) * parts)


def _pages(node: Mapping[str, Any]) -> int:
    return int(node.get("Shared Hit Blocks", 0)) + int(node.get("Shared Read Blocks", 0))


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _named(node: Mapping[str, Any]) -> str:
    text = str(node["Node Type"])
    if "Index Name" in node:
        text += f" using {node['Index Name']}"
    if "Relation Name" in node:
        text += f" on {node['Relation Name']}"
    return text


def _lines(node: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    indent = "  " * depth
    facts = [f"{_number(node['Plan Rows'])} rows expected"]
    if "Actual Rows" in node:
        facts.append(f"{_number(node['Actual Rows'] * node['Actual Loops'])} found")
        facts.append(f"{_number(_pages(node))} pages")
    yield f"{indent}{_named(node)}  ({', '.join(facts)})"
    for name in _CONDITIONS:
        if name in node:
            value = node[name]
            told = ", ".join(value) if isinstance(value, list) else value
            yield f"{indent}    {name}: {told}"
    if removed := node.get("Rows Removed by Filter"):
        yield f"{indent}    Rows removed by filter: {_number(removed)}"
    for child in node.get("Plans", ()):
        yield from _lines(child, depth + 1)


def _number(value: float) -> str:
    return f"{round(value):,}"
