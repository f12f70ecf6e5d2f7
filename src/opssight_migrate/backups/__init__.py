"""Backups: dumped, sealed as they stream, described, proven, opened again."""
