"""Connections, rows, and the translation of psycopg's errors into ours."""
