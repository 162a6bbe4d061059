"""The undo of a cleanup: deleted rows and references from an archive back into their tables."""
