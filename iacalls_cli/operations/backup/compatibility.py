"""What a dump needs that the restoring server or role may lack: roles, extensions, privileges, compression methods.

What cannot be made here is left out and named; tables and their rows come back in any case, or the
restore fails.
"""

import re
from dataclasses import dataclass, field

from psycopg import pq, sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import (
    DUPLICATE,
    INSUFFICIENT_PRIVILEGE,
    INVALID_VALUE,
    NOT_SUPPORTED,
    SYNTAX_ERROR,
    UNDEFINED,
)
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.backup.forms import (
    NAME,
)
from iacalls_cli.operations.backup.run_script import error_words, read_statement
from iacalls_cli.operations.backup.statement import Statement
from iacalls_cli.queries import load_query, load_stand_in
from iacalls_cli.sql_text import Token, unquote

TIMEOUT_MAJOR = 17  # the first version that knows transaction_timeout
COMPRESSION = re.compile(rb"\sSET\s+COMPRESSION\s+(" + NAME + rb")\s*;\s*$", re.IGNORECASE)
REMOVAL = re.compile(rb"DROP\s|ALTER\s.+\sDROP\s", re.DOTALL | re.IGNORECASE)

UNSUPPORTED = (NOT_SUPPORTED, INVALID_VALUE)
EVERYONE = ("PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE")
# What a database can do without: its rows come back all the same.
DISPENSABLE = frozenset(
    ("ACCESS METHOD", "AGGREGATE", "CAST", "COLLATION", "CONVERSION", "EVENT TRIGGER", "EXTENSION",
     "FOREIGN DATA WRAPPER", "FOREIGN SERVER", "FOREIGN TABLE", "FUNCTION", "INDEX", "LANGUAGE", "MATERIALIZED VIEW",
     "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "POLICY", "PROCEDURAL LANGUAGE", "PROCEDURE", "PROPERTY GRAPH",
     "PUBLICATION", "ROUTINE", "RULE", "SERVER", "STATISTICS", "SUBSCRIPTION", "TEXT SEARCH CONFIGURATION",
     "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE", "TRANSFORM", "TRIGGER", "TYPE",
     "USER MAPPING", "VIEW", "CONSTRAINT TRIGGER")
)  # fmt: skip
STAND_IN_FUNCTIONS = re.compile(
    r"(?:uuid_generate_(?:v1|v1mc|v3|v4)|uuid_n(?:il|s_\w+)|gen_random_(?:uuid|bytes)|digest)\("
)


@dataclass
class Compatibility:
    """What the restoring server and role have, and what was found to be missing.

    `apply` is a filter for a script and `pardons` says after which errors it goes on. Owners,
    privileges, row security and event triggers are kept for `finish`: a privilege that is taken
    away must not keep rows from coming, and a policy must not hide them from being counted.
    `is_test` is a restore test in a database of its own: subscriptions are left out, and
    missing extensions get stand-ins where there are any. `search_path` replaces the dump's own.
    """

    connection: Connection = field(repr=False)
    roles: frozenset[str]
    assumable: frozenset[str]
    extensions: frozenset[str]
    tablespaces: frozenset[str]
    major: int
    role: str
    is_superuser: bool
    is_test: bool = False
    search_path: str = ""
    made_beforehand: frozenset[str] = frozenset()
    lacking_roles: dict[str, None] = field(default_factory=dict)
    lacking_owners: dict[str, None] = field(default_factory=dict)
    lacking_extensions: dict[str, None] = field(default_factory=dict)
    forbidden_extensions: dict[str, None] = field(default_factory=dict)
    lacking_tablespaces: dict[str, None] = field(default_factory=dict)
    stand_ins: dict[str, None] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: dict[str, None] = field(default_factory=dict)
    tables: set[tuple[str, ...]] = field(default_factory=set)

    def read(self, text: bytes) -> Statement:
        """Return a statement, read as the session reads its text now."""
        return read_statement(self.connection, text)

    def create_collation(self, statement: Statement) -> None:
        """Create a collation that this server cannot have, for the restore test alone: rows need it, and no order."""
        name = sql.Identifier(*statement.identifiers)
        self.connection.execute(sql.SQL('CREATE COLLATION {} FROM pg_catalog."C"').format(name))
        self.left_out[shown(statement)] = 'this server was built without its provider; "C" is used in the restore test'

    def create_stand_in(self, name: str, schema: str) -> None:
        """Create functions of a missing extension, for the restore test alone."""
        with self.connection.transaction():
            self.connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema)))
            self.connection.execute(load_stand_in(name))

    def pardons(self, text: bytes, error: DatabaseError) -> bool:
        """Whether a restore goes on after an error; what is left out by it is remembered."""
        statement, state = self.read(text), error.sqlstate
        command, kind = statement.command, statement.kind
        reason = error_words(error, statement)
        if self.connection.info.transaction_status == pq.TransactionStatus.INERROR:
            return False  # the transaction that the script began is lost, whatever ends it
        if kind == "SUBSCRIPTION" and reason.startswith("unrecognized subscription parameter"):
            self.left_out[shown(statement)] = reason  # newer than this server: pg_dump names them all
            return True
        if state == SYNTAX_ERROR and command not in ("SET", "RESET"):
            return False  # no statement of pg_dump, or two of them
        if command == "SET":
            self.left_out[f"setting {setting_name(statement)}"] = ""
            return state in (*UNDEFINED, *UNSUPPORTED, INSUFFICIENT_PRIVILEGE)
        if state in UNDEFINED and REMOVAL.match(text):
            return True  # a dump made with --clean first removes what an empty database has not
        if state in DUPLICATE and command == "CREATE" and kind in ("SCHEMA", "EXTENSION", "LANGUAGE"):
            return True  # schema public, and what extensions made
        if command in ("COMMENT", "SECURITY"):
            self.note_comment(statement, reason)
            return True
        if kind == "TABLE" and (compression := COMPRESSION.search(text)) and state in UNSUPPORTED:
            self.left_out[f"compression {unquote(compression[1])}"] = "this server was built without it"
            return True
        if kind == "COLLATION" and state in UNSUPPORTED and self.is_test:
            self.create_collation(statement)
            return True
        is_there = state not in UNDEFINED
        if command in ("COPY", "INSERT") and not is_there and self.missing_extensions:
            if statement.target_identifiers not in self.tables:
                self.leave_out_rows(*statement.target_identifiers)
                return True
            return False
        if command == "SELECT":
            return not is_there and bool(self.missing_extensions)
        if command in ("CREATE", "ALTER", "REFRESH") and (kind in DISPENSABLE or command == "REFRESH"):
            return self.may_leave_out(statement, state, reason)
        return False

    def leave_out_rows(self, *names: str) -> None:
        """Remember that a table of a missing extension has not got its rows."""
        self.left_out[rows_label(*names)] = "of a missing extension"

    def may_leave_out(self, statement: Statement, state: str, reason: str) -> bool:
        """Whether an object that its rows do not need is left out after an error."""
        if state == INSUFFICIENT_PRIVILEGE:
            if statement.kind == "EXTENSION":
                name = statement.name.split(" ")[0]
                self.forbidden_extensions[name] = None
                self.left_out[f"EXTENSION {name}"] = f"{self.role} may not create it"
            else:
                self.left_out[shown(statement)] = reason
            return True
        is_missing = self.has_left_out or (statement.kind == "COLLATION" and state in UNSUPPORTED)
        if state in (*UNDEFINED, *UNSUPPORTED) and is_missing:
            self.left_out[shown(statement)] = reason
            return True
        return False

    def note_comment(self, statement: Statement, reason: str) -> None:
        """Remember a comment that could not be made, unless its object was left out itself."""
        # Old dumps comment on plpgsql, which belongs to a superuser.
        is_known = statement.identifiers == ("plpgsql",) or f"{statement.kind} {statement.name}" in self.left_out
        if not is_known:
            self.left_out[f"comment on {statement.kind} {statement.name}"] = reason

    @property
    def missing_extensions(self) -> bool:
        """Whether an extension is missing, because the server lacks it or the role may not create it."""
        return bool(self.lacking_extensions or self.forbidden_extensions)

    @property
    def has_left_out(self) -> bool:
        """Whether something is missing that others may depend on."""
        return bool(self.lacking_extensions or self.left_out or self.stand_ins or self.lacking_roles)

    def missing_words(self) -> str:
        """Say which extensions are missing, '' where none is."""
        names = [*self.lacking_extensions, *self.stand_ins]
        return f"this server lacks the extension {', '.join(names)}" if names else ""

    def notes(self) -> list[str]:
        """What is otherwise here than where the dump was made, one line each."""
        lines = []
        if self.lacking_owners:
            lines.append(
                f"roles that are missing here, or that {self.role} is no member of: {', '.join(self.lacking_owners)}; "
                f"their objects belong to {self.role}"
            )
        if self.lacking_roles:
            lines.append(
                f"privileges and policies left out because these roles are missing: {', '.join(self.lacking_roles)}"
            )
        if self.lacking_extensions:
            lines.append(f"extensions that this server does not have: {', '.join(self.lacking_extensions)}")
        lines += [
            f"extension {name}: this server does not have it; a stand-in of its functions is used in the restore test"
            for name in self.stand_ins
        ]
        if self.lacking_tablespaces:
            names = ", ".join(self.lacking_tablespaces)
            lines.append(f"tablespaces that this server does not have: {names}; the default one is used")
        if self.left_out:
            listed = "; ".join(f"{name} ({reason})" if reason else name for name, reason in self.left_out.items())
            lines.append(f"left out: {listed}")
        if self.refused:
            lines.append(f"owners and privileges that could not be given: {'; '.join(self.refused)}")
        return lines


def setting_tokens(statement: Statement) -> list[Token]:
    """Return the tokens of a SET or RESET from the setting's name on."""
    tokens = [token for token in statement.tokens() if token.text != b";"][1:]
    return tokens[1:] if len(tokens) > 1 and tokens[0].word in ("SESSION", "LOCAL") else tokens


def setting_name(statement: Statement) -> str:
    """Return the name of the setting of a SET or RESET; '' for a quoted one, which no dump has."""
    return next((token.word.lower() for token in setting_tokens(statement)), "")


def rows_label(*names: str) -> str:
    """Return how the rows of a table are called that were left out; pg_restore lists names with spaces between."""
    return f"rows of {'.'.join(names).replace(' ', '.')}"


def shown(statement: Statement) -> str:
    """Return the kind and name of what is left out."""
    return f"{statement.kind} {statement.name}".strip() if statement.kind else str(statement)


def read_compatibility(connection: Connection, *, is_test: bool = False, search_path: str = "") -> Compatibility:
    """Return what the server and the role of a session have."""
    rows = fetch(connection, load_query("backup/roles"))
    extensions = fetch(connection, load_query("backup/extensions"))
    return Compatibility(
        connection,
        frozenset(row["name"] for row in rows),
        frozenset(row["name"] for row in rows if row["is_assumable"]),
        frozenset(row["name"] for row in extensions),
        frozenset(row["name"] for row in fetch(connection, load_query("backup/tablespaces"))),
        connection.info.server_version // 10_000,
        connection.info.user,
        connection.info.parameter_status("is_superuser") == "on",
        is_test,
        search_path,
    )
