"""`iacalls demo`."""
