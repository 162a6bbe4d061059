"""Everything on stdout: one renderer for each format."""
