"""What a dump needs around it: roles, extensions, settings. What is missing is named and left out."""

import re
from dataclasses import dataclass, field

import psycopg

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.queries import load_query

NAME = rb'(?:"(?:[^"]|"")+"|[\w$\x80-\xff]+)'
OWNER = re.compile(rb"ALTER\s.+\sOWNER TO (" + NAME + rb");\s*", re.DOTALL)
GRANT = re.compile(rb"(?:ALTER DEFAULT PRIVILEGES\s.+?\s)?(?:GRANT|REVOKE)\s.+", re.DOTALL)
GRANTEE = re.compile(rb"\s(?:TO|FROM|FOR ROLE) (" + NAME + rb")")
EXTENSION = re.compile(rb"(?:CREATE EXTENSION(?: IF NOT EXISTS)?|COMMENT ON EXTENSION) (" + NAME + rb")")
AUTHORIZATION = re.compile(rb"(?:RE)?SET SESSION AUTHORIZATION")
TIMEOUT = b"SET transaction_timeout"
TIMEOUT_MAJOR = 17  # what older servers do not know
EVERYONE = ("PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE")


@dataclass
class Surroundings:
    """Roles and extensions of the server that restores, and what was found to be missing there.

    `apply` is a rule for a script: it leaves out what cannot be done here and keeps rights for the
    end, because a right that is taken away must not keep the rows from coming.
    """

    roles: frozenset[str]
    assumable: frozenset[str]
    extensions: frozenset[str]
    major: int
    role: str
    lacking_roles: dict[str, None] = field(default_factory=dict)
    lacking_owners: dict[str, None] = field(default_factory=dict)
    lacking_extensions: dict[str, None] = field(default_factory=dict)
    refused: dict[str, None] = field(default_factory=dict)
    rights: list[bytes] = field(default_factory=list)

    def apply(self, statement: bytes) -> bytes | None:
        """The statement where it can run here, None where it cannot or has to wait."""
        if statement.startswith(TIMEOUT) and self.major < TIMEOUT_MAJOR:
            return None
        if extension := EXTENSION.match(statement):
            name = unquote(extension[1])
            if name not in self.extensions:
                self.lacking_extensions[name] = None
                return None
        if owner := OWNER.fullmatch(statement):
            name = unquote(owner[1])
            if name not in self.assumable:
                self.lacking_owners[name] = None
                return None
        if GRANT.fullmatch(statement) or AUTHORIZATION.match(statement):
            self.rights.append(statement)
            return None
        return statement

    def grant_rights(self, connection: Connection) -> None:
        """Run the statements about rights that were kept, but for roles that do not exist here."""
        for statement in self.rights:
            grantees = [unquote(name) for name in GRANTEE.findall(statement)]
            missing = [name for name in grantees if name not in self.roles and name.upper() not in EVERYONE]
            if missing:
                self.lacking_roles.update(dict.fromkeys(missing))
                continue
            try:
                connection.execute(statement)
            except psycopg.Error as error:
                self.refused[error.diag.message_primary or str(error)] = None
        self.rights.clear()

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
        if self.refused:
            lines.append(f"rights that could not be granted: {'; '.join(self.refused)}")
        return lines


def read_surroundings(connection: Connection) -> Surroundings:
    """The surroundings on the server of a session."""
    rows = fetch(connection, load_query("backup/roles"))
    extensions = fetch(connection, load_query("backup/extensions"))
    return Surroundings(
        frozenset(row["name"] for row in rows),
        frozenset(row["name"] for row in rows if row["is_assumable"]),
        frozenset(row["name"] for row in extensions),
        connection.info.server_version // 10_000,
        connection.info.user,
    )


def unquote(name: bytes) -> str:
    """An identifier as it is meant."""
    text = name.decode("utf-8", "replace")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
