"""The embedded PostgreSQL server: its programs, its places on disk, its life."""
