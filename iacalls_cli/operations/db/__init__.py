"""The database itself: making it, comparing it, listing and drawing what it holds."""
