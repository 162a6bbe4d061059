r"""What a dump made with --create says of its own database: left out, because the new one is there already.

Such a dump begins with DROP DATABASE and CREATE DATABASE, then `\connect`s to it. No statement of
it is ever run, and a second database in the same file is refused.
"""

import re
from dataclasses import dataclass

from iacalls_cli.operations.backup.statement import Statement, find_word
from iacalls_cli.sql_text import unquote

CONNECT = re.compile(rb"\\c(?:onnect)?\s+(?:-reuse-previous=on\s+)?(?P<name>\S.*?)\s*")
ENCODING = re.compile(rb"\\encoding \w+\s*")
CONNINFO = re.compile(r"\"?dbname='(?P<name>.*)'\"?")
COMMANDS = ("CREATE", "DROP", "ALTER", "COMMENT", "SECURITY", "GRANT", "REVOKE")


@dataclass
class OwnDatabase:
    """The database of a dump: its name, once a statement has told it."""

    name: str = ""

    def takes(self, statement: Statement, *, is_first: bool) -> bool:
        """Whether a statement is about the dump's own database. `is_first` says that nothing came before it."""
        name = database_of(statement)
        if not name:
            return False
        if not self.name and is_first and statement.command in ("CREATE", "DROP"):
            self.name = name
        return name == self.name

    def connects(self, line: bytes) -> bool:
        r"""Whether a line is a `\connect` of the dump to its own database, or the `\encoding` before it."""
        match = CONNECT.fullmatch(line.rstrip(b"\r\n"))
        if self.name and ENCODING.fullmatch(line):
            return True
        if match is None or not self.name:
            return False
        shown = match["name"].decode("utf-8", "replace")
        info = CONNINFO.fullmatch(shown)
        name = conninfo_name(info["name"]) if info else unquote(match["name"])
        # psql does not fold an unquoted name.
        return self.name in (name, shown)


def conninfo_name(quoted: str) -> str:
    """Return a database's name out of a conninfo string, which stands in quotes for psql itself."""
    return quoted.replace('""', '"').replace("\\'", "'").replace("\\\\", "\\")


def database_of(statement: Statement) -> str:
    """Return the name of the database that a statement is about, '' for other statements."""
    if statement.command not in COMMANDS:
        return ""
    tokens = list(statement.tokens())
    place = find_word(tokens, "DATABASE")
    if place is None:
        return ""
    words = [token.word for token in tokens[1:place]]
    if statement.command in ("CREATE", "DROP", "ALTER"):
        # ALTER ROLE r IN DATABASE d SET …
        about_one = not words or (statement.command == "ALTER" and words[0] == "ROLE" and words[-1] == "IN")
    else:
        about_one = words[-1:] == ["ON"]
    rest = [token for token in tokens[place + 1 :] if token.word not in ("IF", "EXISTS")]
    if not about_one or not rest or rest[0].kind not in ("word", "quoted"):
        return ""
    return unquote(rest[0].text, statement.encoding)
