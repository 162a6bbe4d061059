"""`iacalls monitor`."""
