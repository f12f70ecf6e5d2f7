"""Moves a live OpsSight database from the single-tenant schema to the multi-tenant one."""

__version__ = "0.1.0"
