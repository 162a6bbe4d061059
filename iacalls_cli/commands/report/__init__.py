"""`iacalls report`."""
