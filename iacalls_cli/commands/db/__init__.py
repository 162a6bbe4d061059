"""`iacalls db`: `cli` declares its commands, one module each does their work."""
