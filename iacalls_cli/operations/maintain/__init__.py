"""Maintenance on the live system: short transactions, short waits for locks, everything that goes can come back."""
