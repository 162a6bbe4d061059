"""`iacalls server`."""
