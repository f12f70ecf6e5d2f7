"""Reference rates: how long the pieces of a migration took where we measured them.

Measured with this tool on PostgreSQL 15 and 18, two shared cores, the sample and a million rows.
They serve a forecast until the journal of the database itself knows better.
"""

from __future__ import annotations

PIECE_S = 0.012
"""One short transaction of DDL: the look, the lock, the catalogue writes, the commit."""

INDEX_ROWS_PER_S = 600_000
"""Rows a second into one btree, built CONCURRENTLY: two scans and a sort."""

VALIDATED_ROWS_PER_S = 1_500_000
"""Rows a second through the validation of a foreign key or a check."""

ASSIGNED_ROWS_PER_S = 18_000
"""Users a second that get their row in user_roles, in batches of 40 ms, each durable."""

FILLED_ROWS_PER_S = 30_000
"""Rows a second whose organization_id is filled in batches."""

COPIED_ROWS_PER_S = 80_000
"""Rows a second that create_hypertable moves into chunks, with a dozen indexes."""

COPIED_ROW_WAL_BYTES = 300
"""Bytes of WAL for one such row with its index entries."""

SCANNED_ROWS_PER_S = 10_000_000
"""Rows a second through the scan that TimescaleDB makes of a table before it is a chunk."""

COMPRESSED_ROWS_PER_S = 400_000
"""Rows a second that TimescaleDB compresses: eight times as many as it moves, on the WebAssembly
server of the tests, and here taken for five.
"""

SPLIT_ROWS_PER_S = 200_000
"""Rows a second that split_chunk rewrites, with a dozen indexes: three times as many as it moves,
on that server, and here taken for two and a half.
"""

ROWS_A_SEGMENT = 1_000
"""Rows that one row of a compressed chunk holds, at the most."""

SPLIT_S = 0.05
"""What one split costs beside its rows: a chunk with its indexes and foreign keys."""

BACK_ROWS_PER_S = 40_000
"""Rows a second that a rollback copies out of chunks, in batches, with a dozen indexes: not half
as many as it moves where they were compressed, on that server.
"""

INDEX_ENTRY_BYTES = 24
"""Bytes of WAL that one index entry costs beside its key."""

ASSIGNED_ROW_WAL_BYTES = 700
"""Bytes of WAL for one assignment: the row, its six index entries, the lock on the user."""

FILLED_ROW_WAL_BYTES = 750
"""Bytes of WAL for one updated row with its index entries."""

UNDONE_TABLE_WAL_BYTES = 25_000
"""Bytes of WAL for one table that a rollback touches: catalogue rows, whatever the table's size."""

SWAPPED_S = 0.3
"""Two renames in one transaction, with the clients of the database ended meanwhile."""

COUNTED_ROWS_PER_S = 5_000_000
"""Rows a second that are looked at for what was written since a snapshot, by xmin."""

REFILLED_ROWS_PER_S = 40_000
"""Rows a second that are copied into a table with its indexes, and looked at by its keys."""

REFILLED_ROW_WAL_BYTES = 600
"""Bytes of WAL for one such row with its index entries."""

SPREAD = 3.0
"""How much longer the slow tenth takes than the usual run, without any history."""
