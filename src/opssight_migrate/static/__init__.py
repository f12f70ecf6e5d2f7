"""What can be said of a chain of revisions without running or importing any of them."""
