"""The words the floors exchange: events, plans, reports and errors."""
