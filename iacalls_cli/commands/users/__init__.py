"""`iacalls users`."""
