"""The categories of checks, as ``verify -t`` takes them and Tab offers them."""

from __future__ import annotations

CATEGORIES: tuple[str, ...] = (
    "schema",
    "integrity",
    "foreign-keys",
    "tenancy",
    "rbac",
    "time-series",
    "audit",
    "performance",
    "rollback",
    "functional",
)
