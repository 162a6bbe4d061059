"""The archive of a cleanup: its format, the directory it is kept in, writing, and recovery after a crash."""
