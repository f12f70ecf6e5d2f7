"""Subscribers that show events: screen, plain text, JSON, log file."""
