"""Backups: made and read back, verified, proven by a restore, kept, and brought back."""
