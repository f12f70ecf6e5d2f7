"""The engine: it owns the transactions, the loop, the cursor and the signals."""
