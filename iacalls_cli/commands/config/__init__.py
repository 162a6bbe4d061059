"""`iacalls config`: `cli` declares its commands, one module each does their work."""
