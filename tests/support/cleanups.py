"""What the tests of cleanups share: old rows, the command, and what a database and an archive hold."""

import json
from pathlib import Path

import zstandard
from psycopg import sql

TABLES = """SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_' ORDER BY 1, 2"""


def rows_of(connection, relation, schema="public"):
    """The rows of a table itself as PostgreSQL writes them, sorted."""
    statement = sql.SQL("SELECT t::text FROM ONLY {} AS t ORDER BY 1").format(sql.Identifier(schema, relation))
    return [row for (row,) in connection.execute(statement)]


def everything(connection):
    """The rows of every table."""
    return {name: rows_of(connection, name[1], name[0]) for name in connection.execute(TABLES).fetchall()}


def archived(folder, action="deleted"):
    """What the files of an archive hold: for each table the rows as mappings, read without iacalls."""
    manifest = json.loads((Path(folder) / "manifest.json").read_text())
    found = {}
    for file in manifest["files"]:
        if file["action"] != action:
            continue
        with (Path(folder) / file["path"]).open("rb") as source:
            text = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True).read().decode()
        if not text:  # its transaction found nothing, or did not come to its end
            continue
        header, *lines = [json.loads(line) for line in text.split("\n")[:-1]]
        assert header == file["columns"]
        found.setdefault((file["schema"], file["table"]), []).extend(
            dict(zip(header, line, strict=True)) for line in lines
        )
    return found


def by_name(rows, name="rule"):
    """A command's rows by one of their columns."""
    return {row[name]: row for row in rows}
