"""SQL put together from parts, never from strings: the driver's composition, for all floors."""

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

__all__ = ["SQL", "Composable", "Composed", "Identifier", "Literal"]
