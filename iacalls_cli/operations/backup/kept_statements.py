"""Statements of a dump that wait until its rows are there: row security, owners, privileges, event triggers.

A privilege that is taken away must not keep rows from coming, and a policy must not hide them from
being counted. Event triggers would see the restore itself.
"""

import psycopg

from iacalls_cli.database.connection import SAFE_PATH
from iacalls_cli.database.extended import execute_alone
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import NOT_GRANTED, NOT_SUPPORTED
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.backup.compatibility import EVERYONE, TIMEOUT_MAJOR, Compatibility, shown
from iacalls_cli.operations.backup.grants import Grant, read_grant
from iacalls_cli.operations.backup.run_script import error_words, failure
from iacalls_cli.operations.backup.statement import Statement
from iacalls_cli.queries import load_query

# What GRANT and REVOKE warn of when they do nothing.
ROUTINES = ("FUNCTION", "PROCEDURE", "ROUTINE")
# What acts with its owner's privileges whoever uses it.
# pg_dump calls views tables in ALTER … OWNER TO.
ORPHANS = (*ROUTINES, "VIEW", "TABLE")


class KeptStatements:
    """What is kept of one script; `path` is the statement that set its search_path last."""

    def __init__(self, server: Compatibility) -> None:
        self.server = server
        self.late: list[Statement] = []
        self.rights: list[Statement] = []
        self.event_triggers: list[Statement] = []
        self.orphans: list[Statement] = []
        # Dumps before version 10.3 name no schemas.
        self.path = b""

    def keep_orphan(self, statement: Statement) -> None:
        """Keep the name of a routine or view whose owner is missing: it must not act with a superuser's privileges."""
        if self.server.is_superuser and statement.kind in ORPHANS:
            self.orphans.append(statement)

    def disarm(self, statement: Statement) -> None:
        """Keep a routine or view of a missing owner from acting with a superuser's privileges for whoever uses it."""
        values = {"name": statement.name, "is_routine": statement.kind in ROUTINES}
        for row in fetch(self.server.connection, load_query("backup/orphan-repairs"), values):
            self.server.connection.execute(row["statement"].encode())
            kind = "VIEW" if statement.kind == "TABLE" else statement.kind
            self.server.left_out[f"{kind} {statement.name}"] = f"{row['effect']}: its owner is missing"

    def keep_owner(self, statement: Statement, owner: str) -> None:
        """Keep an ALTER … OWNER TO for the end, or the name of a role that cannot be given anything."""
        if owner in self.server.assumable:
            self.keep(self.event_triggers if statement.kind == "EVENT TRIGGER" else self.rights, statement)
        else:
            self.server.lacking_owners[owner] = None
            self.keep_orphan(statement)

    def keep(self, kept: list[Statement], statement: Statement) -> None:
        """Keep a statement for the end, with the search_path that it was written for."""
        statement.path = self.path
        kept.append(statement)

    def finish(self) -> None:
        """Run what was kept: row security, owners and privileges, and event triggers at the very end."""
        for statement in self.late:
            self.run_late(statement)
        for statement in self.rights:
            self.give(statement)
        for statement in self.orphans:
            self.disarm(statement)
        for statement in self.event_triggers:
            self.run_late(statement)
        for kept in (self.late, self.rights, self.event_triggers):
            kept.clear()

    def execute_late(self, statement: Statement, text: bytes) -> None:
        """Run a statement that was kept, with the search_path that it was written for."""
        with self.server.connection.transaction():
            if statement.path:
                execute_alone(self.server.connection, statement.path)
            execute_alone(self.server.connection, text)
            self.server.connection.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [SAFE_PATH])

    def run_late(self, statement: Statement) -> None:
        """Run a statement that was kept, and go on after an error as in the script."""
        try:
            self.execute_late(statement, in_utf8(statement))
        except DatabaseError as error:
            if not self.server.pardons(statement.text, error):
                raise failure(error, statement) from error

    def give(self, statement: Statement) -> None:
        """Run a statement about an owner or privileges, but for roles and privileges that do not exist here."""
        text = in_utf8(statement)
        grant = read_grant(statement)
        if grant is not None:
            missing = [name for name in grant.roles if name not in self.server.roles and name.upper() not in EVERYONE]
            if missing:
                self.server.lacking_roles.update(dict.fromkeys(missing))
                return
            if self.server.major < TIMEOUT_MAJOR and grant.has_maintain:
                self.server.refused[
                    f"MAINTAIN on {grant.target} for {', '.join(grant.roles)}: it came with PostgreSQL 17"
                ] = None
                text = grant.without_maintain()
                if not text:
                    return
        warnings: list[str] = []

        def note(diagnostic: psycopg.errors.Diagnostic) -> None:
            if diagnostic.sqlstate in NOT_GRANTED:
                warnings.append(diagnostic.message_primary or "")

        self.server.connection.add_notice_handler(note)
        try:
            self.execute_late(statement, text)
        except DatabaseError as error:
            is_follower = statement.kind == "SEQUENCE" and error.sqlstate == NOT_SUPPORTED  # it follows its table
            if not is_follower and shown(statement) not in self.server.left_out:
                self.server.refused[f"{about(statement, grant)}: {error_words(error, statement)}"] = None
        finally:
            self.server.connection.remove_notice_handler(note)
        # What a role may not grant or revoke is a mere warning to the server.
        for warning in warnings:
            self.server.refused[f"{about(statement, grant)}: {warning}"] = None


def about(statement: Statement, grant: Grant | None) -> str:
    """Return what a statement about owners or privileges is about."""
    if grant is not None:
        return f"privileges on {grant.target} for {', '.join(grant.roles)}"
    return f"owner of {shown(statement)}"


def in_utf8(statement: Statement) -> bytes:
    """Return a statement that was kept in the encoding of our sessions."""
    try:
        return statement.text.decode(statement.encoding).encode()
    except UnicodeDecodeError:
        return statement.text
