"""Facts of the OpsSight platform: revisions, tables, shims, roles, permissions. No I/O."""
