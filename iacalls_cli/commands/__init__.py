"""The commands: parse, connect, call one operation, hand its answer to output.

They import what they need inside their functions, so that help, completion and
`--version` load neither psycopg nor Rich.
"""
