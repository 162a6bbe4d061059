"""What a dump needs around it: roles, extensions, tablespaces, settings. What is missing is named and left out."""

import re
from dataclasses import dataclass, field

import psycopg

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import INSUFFICIENT_RIGHT, database_errors
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import UsageError
from iacalls_cli.queries import load_query

NAME = rb'(?:"(?:[^"]|"")+"|[\w$\x80-\xff]+)'
OWNER = re.compile(rb"ALTER\s.+\sOWNER TO (" + NAME + rb");\s*", re.DOTALL)
GRANT = re.compile(rb"(?:ALTER DEFAULT PRIVILEGES\s.+?\s)?(?:GRANT|REVOKE)\s.+", re.DOTALL)
# A quoted name in which such words stand is passed over.
GRANTEE = re.compile(rb"\s(?:TO|FROM|FOR ROLE) (" + NAME + rb')|"(?:[^"]|"")+"')
EXTENSION = re.compile(rb"(?:CREATE EXTENSION(?: IF NOT EXISTS)?|COMMENT ON EXTENSION) (" + NAME + rb")")
REMOVAL = re.compile(rb"DROP\s|ALTER\s.+\sDROP\s", re.DOTALL)
# What concerns more than the one database, or the server's machine: pg_dump writes none of it,
# but for what a dump made with --create begins with. White space may be a comment.
BLANK = rb"(?:\s|--[^\n]*\n|/\*.*?\*/)"
BEYOND = re.compile(
    BLANK + rb"*(?:(?:CREATE|DROP|ALTER)" + BLANK + rb"+(?:DATABASE|ROLE|GROUP|TABLESPACE|SYSTEM|USER(?!" + BLANK
    + rb"+MAPPING))(?!\w)|COPY\W.*\WPROGRAM" + BLANK + rb"*')",
    re.DOTALL | re.IGNORECASE,
)  # fmt: skip
STATISTICS = re.compile(rb"SELECT \* FROM pg_catalog\.pg_restore_(?:relation|attribute)_stats\(")
TABLESPACE = re.compile(rb"SET default_tablespace = (" + NAME + rb");\s*")
AUTHORIZATION = re.compile(rb"(?:RE)?SET SESSION AUTHORIZATION")
TIMEOUT = b"SET transaction_timeout"
TIMEOUT_MAJOR = 17  # what older servers do not know
NOT_THERE = ("42P01", "42703", "42704", "42883", "3F000")
EVERYONE = ("PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE")


@dataclass
class Surroundings:
    """Roles and extensions of the server that restores, and what was found to be missing there.

    `apply` is a rule for a script: it leaves out what cannot be done here and keeps owners and rights
    for the end, because a right that is taken away must not keep the rows from coming.
    """

    roles: frozenset[str]
    assumable: frozenset[str]
    extensions: frozenset[str]
    tablespaces: frozenset[str]
    major: int
    role: str
    lacking_roles: dict[str, None] = field(default_factory=dict)
    lacking_owners: dict[str, None] = field(default_factory=dict)
    lacking_extensions: dict[str, None] = field(default_factory=dict)
    lacking_tablespaces: dict[str, None] = field(default_factory=dict)
    forbidden_extensions: dict[str, None] = field(default_factory=dict)
    refused: dict[str, None] = field(default_factory=dict)
    rights: list[bytes] = field(default_factory=list)

    def apply(self, statement: bytes) -> bytes | None:
        """The statement where it can run here, None where it cannot or has to wait."""
        if statement.startswith(TIMEOUT) and self.major < TIMEOUT_MAJOR:
            return None
        if STATISTICS.match(statement):  # only the newest servers know them, and ANALYZE makes better ones
            return None
        if BEYOND.match(statement):
            raise UsageError(
                "the file makes, changes or drops databases, roles or settings of the whole server, or runs a program",
                "make the dump without --create, or look at the file before you run it with psql",
            )
        if tablespace := TABLESPACE.fullmatch(statement):
            name = unquote(tablespace[1])
            if name not in self.tablespaces:
                self.lacking_tablespaces[name] = None
                return b"SET default_tablespace = '';"
        if extension := EXTENSION.match(statement):
            name = unquote(extension[1])
            if name not in self.extensions:
                self.lacking_extensions[name] = None
                return None
        if owner := OWNER.fullmatch(statement):
            name = unquote(owner[1])
            if name in self.assumable:
                self.rights.append(statement)
            else:
                self.lacking_owners[name] = None
            return None
        if GRANT.fullmatch(statement) or AUTHORIZATION.match(statement):
            self.rights.append(statement)
            return None
        return statement

    def keep_rights(self, statement: bytes) -> None:
        """A rule that runs nothing, keeps owners and rights for the end, and notes missing tablespaces."""
        if OWNER.fullmatch(statement) or GRANT.fullmatch(statement) or TABLESPACE.fullmatch(statement):
            self.apply(statement)

    def pardons(self, statement: bytes, error: psycopg.Error) -> bool:
        """Whether a restore goes on after an error: an extension this role may not make, or nothing to be removed.

        A dump made with --clean first removes what an empty database has not.
        """
        if extension := EXTENSION.match(statement):
            if error.sqlstate == INSUFFICIENT_RIGHT:
                self.forbidden_extensions[unquote(extension[1])] = None
                return True
            return False
        return error.sqlstate in NOT_THERE and bool(REMOVAL.match(statement))

    def grant_rights(self, connection: Connection) -> None:
        """Run the statements about owners and rights that were kept, but for roles that do not exist here."""
        for statement in self.rights:
            grantees = [unquote(name) for name in GRANTEE.findall(statement) if name]
            if OWNER.fullmatch(statement):
                grantees = []
            missing = [name for name in grantees if name not in self.roles and name.upper() not in EVERYONE]
            if missing:
                self.lacking_roles.update(dict.fromkeys(missing))
                continue
            try:
                connection.execute(statement)
            except psycopg.Error as error:
                self.refused[error.diag.message_primary or str(error)] = None
        self.rights.clear()
        with database_errors():
            # A dump that sets it does not always set it back.
            connection.execute("RESET SESSION AUTHORIZATION")

    def notes(self) -> list[str]:
        """What is otherwise here than where the dump was made, one line each."""
        lines = []
        if self.lacking_owners:
            lines.append(
                f"not given to their owners, which are missing here or not {self.role}'s to act for: "
                f"{', '.join(self.lacking_owners)}; the objects belong to {self.role}"
            )
        if self.lacking_roles:
            lines.append(f"rights not granted, because these roles are missing here: {', '.join(self.lacking_roles)}")
        if self.lacking_extensions:
            lines.append(f"extensions that this server does not have: {', '.join(self.lacking_extensions)}")
        if self.lacking_tablespaces:
            names = ", ".join(self.lacking_tablespaces)
            lines.append(f"tablespaces that this server does not have: {names}; the usual one is used")
        if self.forbidden_extensions:
            names = ", ".join(self.forbidden_extensions)
            lines.append(f"extensions that {self.role} may not make or comment on: {names}")
        if self.refused:
            lines.append(f"owners and rights that could not be given: {'; '.join(self.refused)}")
        return lines


def read_surroundings(connection: Connection) -> Surroundings:
    """The surroundings on the server of a session."""
    rows = fetch(connection, load_query("backup/roles"))
    extensions = fetch(connection, load_query("backup/extensions"))
    return Surroundings(
        frozenset(row["name"] for row in rows),
        frozenset(row["name"] for row in rows if row["is_assumable"]),
        frozenset(row["name"] for row in extensions),
        frozenset(row["name"] for row in fetch(connection, load_query("backup/tablespaces"))),
        connection.info.server_version // 10_000,
        connection.info.user,
    )


def unquote(name: bytes) -> str:
    """An identifier as it is meant."""
    text = name.decode("utf-8", "replace")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
