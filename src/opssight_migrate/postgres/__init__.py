"""Everything that speaks to PostgreSQL; the only floor that imports the driver."""
