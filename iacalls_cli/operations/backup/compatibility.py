"""What a dump needs that the restoring server or role may lack: roles, extensions, privileges, compression methods.

What cannot be made here is left out and named; tables and their rows come back in any case, or the
restore fails. A statement that no dump of one database holds ends the restore: the filter lists
what pg_dump writes, not what is known to be dangerous. It is no sandbox: functions, defaults,
triggers and index expressions of a dump run with the privileges of the restoring role.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import psycopg
from psycopg import pq, sql

from iacalls_cli.database.connection import SAFE_PATH, Connection
from iacalls_cli.database.extended import execute_alone, text_encoding
from iacalls_cli.database.failures import INSUFFICIENT_RIGHT, UNDEFINED, database_errors
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.backup.forms import (
    CALL_OF,
    NAME,
    SERIAL_CALL,
    is_about_database,
    is_copy_from_stdin,
    is_insert_of_values,
    is_of_one_object,
    is_search_path_call,
)
from iacalls_cli.operations.backup.grants import Grant, read_grant
from iacalls_cli.operations.backup.own_database import OwnDatabase
from iacalls_cli.operations.backup.run_script import error_words, failure, read_statement
from iacalls_cli.operations.backup.script import check_command
from iacalls_cli.operations.backup.statement import Statement, Token, find_word, unquote
from iacalls_cli.queries import load_query, load_stand_in

TIMEOUT_MAJOR = 17  # the first version that knows transaction_timeout
# How dumps made with --clean remove large objects: a new database has none.
UNLINK = re.compile(
    rb"SELECT (?:CASE WHEN EXISTS\s*\(.*lo_unlink\(.*"
    rb"|pg_catalog\.lo_unlink\(oid\) FROM pg_catalog\.pg_largeobject_metadata WHERE oid = .*)",
    re.DOTALL,
)
STATISTICS = re.compile(rb"SELECT \* FROM (?:pg_catalog\.)?pg_restore_(?:relation|attribute|extended)_stats\(")
FUNCTIONS = frozenset(("setval", "set_config", "lo_create", "lo_creat", "lo_open", "lowrite", "lo_close", "lo_unlink"))
SETTINGS = frozenset(
    ("client_encoding", "standard_conforming_strings", "escape_string_warning", "check_function_bodies", "xmloption",
     "client_min_messages", "row_security", "default_tablespace", "default_table_access_method", "default_with_oids",
     "search_path", "datestyle", "intervalstyle", "bytea_output", "extra_float_digits", "backslash_quote",
     "quote_all_identifiers", "synchronize_seqscans")
)  # fmt: skip
# Our sessions have their own.
TIMEOUTS = frozenset(
    ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout",
     "idle_session_timeout")
)  # fmt: skip
TRANSACTION = re.compile(
    rb"(?:BEGIN|START|COMMIT|END)(?:\s+(?:TRANSACTION|WORK))?\s*;\s*|START\s+TRANSACTION\s*;\s*", re.IGNORECASE
)
COMPRESSION = re.compile(rb"\sSET\s+COMPRESSION\s+(" + NAME + rb")\s*;\s*$", re.IGNORECASE)
ENABLE_ROW_SECURITY = re.compile(rb"\s(?:ENABLE|FORCE)\s+ROW\s+LEVEL\s+SECURITY\s*;\s*$", re.IGNORECASE)
OWNER = re.compile(rb"ALTER\s.+\sOWNER\s+TO\s+(" + NAME + rb")\s*;\s*", re.DOTALL | re.IGNORECASE)
REMOVAL = re.compile(rb"DROP\s|ALTER\s.+\sDROP\s", re.DOTALL | re.IGNORECASE)

DUPLICATE = ("42P06", "42710", "42723", "42P07")
NOT_SUPPORTED = ("0A000", "22023")
SYNTAX_ERROR = "42601"
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
# Extensions whose functions a restore test can do without, because PostgreSQL has what they are for.
STAND_INS = ("uuid-ossp", "pgcrypto")
STAND_IN_FUNCTIONS = re.compile(r"(?:uuid_generate_(?:v1|v1mc|v3|v4)|uuid_n(?:il|s_\w+)|gen_random_uuid)\(")


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
    lacking_tablespaces: dict[str, None] = field(default_factory=dict)
    stand_ins: dict[str, None] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: dict[str, None] = field(default_factory=dict)
    tables: set[tuple[str, ...]] = field(default_factory=set)
    late: list[Statement] = field(default_factory=list)
    rights: list[Statement] = field(default_factory=list)
    event_triggers: list[Statement] = field(default_factory=list)
    authorization: str = ""
    database: OwnDatabase = field(default_factory=OwnDatabase)
    has_begun: bool = False
    # The statement that set the search_path: dumps before version 10.3 name no schemas.
    path: bytes = b""

    def encoding(self) -> str:
        """How the script's text is encoded now, by Python's name."""
        return text_encoding(self.connection)

    def read(self, text: bytes) -> Statement:
        """Return a statement, read as the session reads its text now."""
        return read_statement(self.connection, text)

    def apply(self, text: bytes) -> bytes | None:
        """Return the statement where it can run here, None where it cannot or has to wait.

        Raises `UsageError` for a statement that no dump of one database holds.
        """
        statement = self.read(text)
        handler = HANDLERS.get(statement.command)
        if handler is None:
            raise not_of_a_dump(statement)
        if self.database.takes(statement, is_first=not self.has_begun):
            self.left_out[f"statements about the database {self.database.name}"] = "the new one is there"
            return None
        self.has_begun = self.has_begun or bool(statement.kind) or statement.command in ("COPY", "INSERT")
        return handler(self, statement)

    def check_command(self, line: bytes) -> None:
        r"""Raise `UsageError` for a command of psql, but for the `\connect` of a dump to its own database."""
        if not self.database.connects(line):
            check_command(line)

    def apply_setting(self, statement: Statement) -> bytes | None:
        """SET and RESET: what pg_dump writes, but for what our session has its own of."""
        words = setting_tokens(statement)
        if words and words[0].word == "AUTHORIZATION":
            self.authorization = value_of(words[1:], statement) if statement.command == "SET" else ""
            return None
        name = setting_name(statement)
        if name == "default_tablespace":
            wanted = value_of(words[2:], statement)
            if wanted and wanted not in self.tablespaces:
                self.lacking_tablespaces[wanted] = None
                return b"SET default_tablespace = '';"
        if name == "search_path" and self.search_path:
            return self.set_search_path()
        if name == "search_path":
            self.path = statement.text
        if name in SETTINGS:
            return statement.text
        if name not in TIMEOUTS:
            self.left_out[f"setting {name}"] = ""
        return None

    def set_search_path(self) -> bytes:
        """Return the statement that sets the path that was asked for, in place of the dump's own."""
        return sql.SQL("SET search_path = {}").format(sql.SQL(self.search_path)).as_bytes()

    def apply_call(self, statement: Statement) -> bytes | None:
        """SELECT: only calls of the functions by which pg_dump sets sequences and writes large objects."""
        if STATISTICS.match(statement.text) or UNLINK.fullmatch(statement.text):
            return None  # ANALYZE makes better ones; a new database has no large object
        if SERIAL_CALL.fullmatch(statement.text):
            return statement.text
        call = CALL_OF.fullmatch(statement.text)
        function = call["function"].decode() if call else ""
        if function not in FUNCTIONS:
            raise not_of_a_dump(statement)
        if function == "set_config":
            if not is_search_path_call(statement.text):
                raise not_of_a_dump(statement)
            self.path = self.set_search_path() if self.search_path else statement.text
            return self.path
        return statement.text if function != "lo_unlink" else None

    def apply_transaction(self, statement: Statement) -> bytes | None:
        """BEGIN and COMMIT, as pg_dump writes them around large objects."""
        if not TRANSACTION.fullmatch(statement.text):
            raise not_of_a_dump(statement)
        return statement.text

    def apply_rows(self, statement: Statement) -> bytes | None:
        """COPY … FROM stdin and INSERT … VALUES."""
        if not (is_copy_from_stdin(statement) if statement.command == "COPY" else is_insert_of_values(statement)):
            raise not_of_a_dump(statement)
        return statement.text

    def apply_object(self, statement: Statement) -> bytes | None:
        """CREATE, ALTER, DROP, COMMENT ON and SECURITY LABEL, of kinds that belong to one database."""
        kind, text = statement.kind, statement.text
        if not kind:
            if is_about_database(statement) and statement.command in ("COMMENT", "SECURITY"):
                # pg_dump before version 11 wrote the database's own.
                self.left_out["comment on the database"] = ""
                return None
            raise not_of_a_dump(statement)
        if owner := OWNER.fullmatch(text):
            self.keep_owner(statement, unquote(owner[1], statement.encoding))
            return None
        if not is_of_one_object(statement):
            raise not_of_a_dump(statement)
        if kind == "DEFAULT PRIVILEGES":
            self.keep_for_end(self.rights, statement)
            return None
        if kind == "EXTENSION":
            return self.apply_extension(statement)
        if kind == "SUBSCRIPTION" and self.is_test:
            self.left_out[f"{kind} {statement.name.split(' ')[0]}"] = "a copy must not take its changes"
            return None
        if kind == "EVENT TRIGGER" and statement.command != "DROP":
            self.keep_for_end(self.event_triggers, statement)
            return None
        if kind in ("LANGUAGE", "PROCEDURAL LANGUAGE") and statement.identifiers == ("plpgsql",):
            return None  # every database has it
        if kind == "POLICY" and statement.command == "CREATE":
            return self.apply_policy(statement)
        if kind == "USER MAPPING":
            return self.apply_mapping(statement)
        if kind == "TABLE":
            if statement.command == "CREATE":
                self.tables.add(statement.identifiers)
            if ENABLE_ROW_SECURITY.search(text):
                self.keep_for_end(self.late, statement)
                return None
        return text

    def apply_extension(self, statement: Statement) -> bytes | None:
        """CREATE EXTENSION and COMMENT ON EXTENSION, where the server has it."""
        name = statement.identifiers[0] if statement.identifiers else ""
        if name not in self.extensions:
            if statement.command == "CREATE":
                if self.is_test and name in STAND_INS:
                    self.stand_ins[name] = None
                    self.create_stand_in(name, schema_of_extension(statement))
                else:
                    self.lacking_extensions[name] = None
            return None
        if statement.command in ("COMMENT", "ALTER") and (
            name in self.made_beforehand or f"EXTENSION {statement.name}" in self.left_out
        ):
            return None
        return statement.text

    def create_collation(self, statement: Statement) -> None:
        """Create a collation that this server cannot have, for the restore test alone: rows need it, and no order."""
        name = sql.Identifier(*statement.identifiers)
        with database_errors():
            self.connection.execute(sql.SQL('CREATE COLLATION {} FROM pg_catalog."C"').format(name))
        self.left_out[shown(statement)] = 'this server was built without its provider; "C" is used in the restore test'

    def create_stand_in(self, name: str, schema: str) -> None:
        """Create functions of a missing extension, for the restore test alone."""
        with database_errors(), self.connection.transaction():
            self.connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema)))
            self.connection.execute(load_stand_in(name))

    def apply_policy(self, statement: Statement) -> bytes | None:
        """CREATE POLICY, for those of its roles that exist here."""
        tokens = list(statement.tokens())
        start = find_word(tokens, "TO")
        if start is None:
            return statement.text
        roles, position = [], start + 1
        while position < len(tokens) and tokens[position].kind in ("word", "quoted"):
            roles.append(tokens[position])
            position += 1
            if position == len(tokens) or tokens[position].text != b",":
                break
            position += 1
        existing = [role for role in roles if self.is_role(role, statement)]
        if len(existing) == len(roles):
            return statement.text
        missing = [unquote(role.text, statement.encoding) for role in roles if role not in existing]
        self.lacking_roles.update(dict.fromkeys(missing))
        if not existing:
            self.left_out[f"POLICY {statement.name}"] = f"it is for {', '.join(missing)}"
            return None
        head, rest = statement.text[: tokens[start].end], statement.text[roles[-1].end :]
        return head + b" " + b", ".join(role.text for role in existing) + rest

    def apply_mapping(self, statement: Statement) -> bytes | None:
        """CREATE USER MAPPING, where the role exists here."""
        tokens = list(statement.tokens())
        start = find_word(tokens, "FOR")
        role = tokens[start + 1] if start is not None and start + 1 < len(tokens) else None
        if role is None or self.is_role(role, statement) or role.word == "USER":
            return statement.text
        self.lacking_roles[unquote(role.text, statement.encoding)] = None
        self.left_out[f"USER MAPPING {statement.name}"] = "the role is missing"
        return None

    def is_role(self, token: Token, statement: Statement) -> bool:
        """Whether a token names a role that exists here, or one that always does."""
        name = unquote(token.text, statement.encoding)
        return token.word in EVERYONE or name == "public" or name in self.roles

    def apply_right(self, statement: Statement) -> bytes | None:
        """GRANT and REVOKE on objects of one database, kept for the end; never of roles."""
        if read_grant(statement) is None:
            raise not_of_a_dump(statement)
        self.keep_for_end(self.rights, statement)
        return None

    def leave_out(self, statement: Statement) -> bytes | None:
        """What a restore does by itself."""
        return None

    def run(self, statement: Statement) -> bytes | None:
        """What can do no more than it says."""
        return statement.text

    def keep_owner(self, statement: Statement, owner: str) -> None:
        """Keep an ALTER … OWNER TO for the end, or the name of a role that cannot be given anything."""
        if owner in self.assumable:
            self.keep_for_end(self.event_triggers if statement.kind == "EVENT TRIGGER" else self.rights, statement)
        else:
            self.lacking_owners[owner] = None

    def keep_for_end(self, kept: list[Statement], statement: Statement) -> None:
        """Keep a statement for the end, with the search_path that it was written for."""
        statement.path = self.path
        kept.append(statement)

    def keep(self, text: bytes) -> None:
        """A filter that runs nothing: it keeps owners and privileges for the end, and notes missing tablespaces."""
        statement = self.read(text)
        is_tablespace = statement.command == "SET" and b"default_tablespace" in text
        if OWNER.fullmatch(text) or statement.command in ("GRANT", "REVOKE") or is_tablespace:
            self.apply(text)

    def execute(self, text: bytes) -> None:
        """Run one statement; what it creates goes to the role that SET SESSION AUTHORIZATION named."""
        if not self.authorization or text.lstrip()[:6].upper() != b"CREATE":
            execute_alone(self.connection, text)
            return
        with self.connection.transaction():
            execute_alone(self.connection, text)
            made = fetch(self.connection, load_query("backup/new-objects"))
        for row in made:
            altered = sql.SQL("ALTER {} OWNER TO {};").format(
                sql.SQL(row["object"]), sql.Identifier(self.authorization)
            )
            self.keep_owner(Statement(altered.as_bytes()), self.authorization)

    def pardons(self, text: bytes, error: psycopg.Error) -> bool:
        """Whether a restore goes on after an error; what is left out by it is remembered."""
        statement, state = self.read(text), error.sqlstate or ""
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
            return state in (*UNDEFINED, *NOT_SUPPORTED, INSUFFICIENT_RIGHT)
        if state in UNDEFINED and REMOVAL.match(text):
            return True  # a dump made with --clean first removes what an empty database has not
        if state in DUPLICATE and command == "CREATE" and kind in ("SCHEMA", "EXTENSION", "LANGUAGE"):
            return True  # schema public, and what extensions made
        if command in ("COMMENT", "SECURITY"):
            self.note_comment(statement, reason)
            return True
        if kind == "TABLE" and (compression := COMPRESSION.search(text)) and state in NOT_SUPPORTED:
            self.left_out[f"compression {unquote(compression[1])}"] = "this server was built without it"
            return True
        if kind == "COLLATION" and state in NOT_SUPPORTED and self.is_test:
            self.create_collation(statement)
            return True
        is_there = state not in UNDEFINED
        if command in ("COPY", "INSERT") and not is_there and self.lacking_extensions:
            if statement.target_identifiers not in self.tables:
                self.leave_out_rows(*statement.target_identifiers)
                return True
            return False
        if command == "SELECT":
            return not is_there and bool(self.lacking_extensions)
        if command in ("CREATE", "ALTER", "REFRESH") and (kind in DISPENSABLE or command == "REFRESH"):
            return self.may_leave_out(statement, state, reason)
        return False

    def leave_out_rows(self, *names: str) -> None:
        """Remember that a table of a missing extension has not got its rows."""
        self.left_out[rows_label(*names)] = "of a missing extension"

    def may_leave_out(self, statement: Statement, state: str, reason: str) -> bool:
        """Whether an object that its rows do not need is left out after an error."""
        if state == INSUFFICIENT_RIGHT:
            if statement.kind == "EXTENSION":
                self.left_out[f"EXTENSION {statement.name.split(' ')[0]}"] = f"{self.role} may not create it"
            else:
                self.left_out[shown(statement)] = reason
            return True
        is_missing = self.has_left_out or (statement.kind == "COLLATION" and state in NOT_SUPPORTED)
        if state in (*UNDEFINED, *NOT_SUPPORTED) and is_missing:
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
    def has_left_out(self) -> bool:
        """Whether something is missing that others may depend on."""
        return bool(self.lacking_extensions or self.left_out or self.stand_ins or self.lacking_roles)

    def missing_words(self) -> str:
        """Say which extensions are missing, '' where none is."""
        names = [*self.lacking_extensions, *self.stand_ins]
        return f"this server lacks the extension {', '.join(names)}" if names else ""

    def finish(self) -> None:
        """Run what was kept: row security, owners and privileges, and event triggers at the very end."""
        for statement in self.late:
            with database_errors():
                self.run_late(statement)
        for statement in self.rights:
            self.give(statement)
        for statement in self.event_triggers:
            with database_errors():
                self.run_late(statement)
        for kept in (self.late, self.rights, self.event_triggers):
            kept.clear()

    def execute_late(self, statement: Statement, text: bytes) -> None:
        """Run a statement that was kept, with the search_path that it was written for."""
        with self.connection.transaction():
            if statement.path:
                execute_alone(self.connection, statement.path)
            execute_alone(self.connection, text)
            self.connection.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [SAFE_PATH])

    def run_late(self, statement: Statement) -> None:
        """Run a statement that was kept, and go on after an error as in the script."""
        try:
            self.execute_late(statement, in_utf8(statement))
        except psycopg.Error as error:
            if not self.pardons(statement.text, error):
                raise failure(error, statement) from error

    def give(self, statement: Statement) -> None:
        """Run a statement about an owner or privileges, but for roles and privileges that do not exist here."""
        text = in_utf8(statement)
        grant = read_grant(statement)
        if grant is not None:
            missing = [name for name in grant.roles if name not in self.roles and name.upper() not in EVERYONE]
            if missing:
                self.lacking_roles.update(dict.fromkeys(missing))
                return
            if self.major < TIMEOUT_MAJOR and grant.has_maintain:
                self.refused[f"MAINTAIN on {grant.target} for {', '.join(grant.roles)}: it came with PostgreSQL 17"] = (
                    None
                )
                text = grant.without_maintain()
                if not text:
                    return
        try:
            self.execute_late(statement, text)
        except psycopg.Error as error:
            is_follower = statement.kind == "SEQUENCE" and error.sqlstate == "0A000"  # it follows its table
            if not is_follower and shown(statement) not in self.left_out:
                self.refused[f"{about(statement, grant)}: {error_words(error, statement)}"] = None

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


HANDLERS: dict[str, Callable[[Compatibility, Statement], bytes | None]] = {
    **dict.fromkeys(("SET", "RESET"), Compatibility.apply_setting),
    "SELECT": Compatibility.apply_call,
    **dict.fromkeys(("BEGIN", "START", "COMMIT", "END"), Compatibility.apply_transaction),
    **dict.fromkeys(("COPY", "INSERT"), Compatibility.apply_rows),
    **dict.fromkeys(("CREATE", "ALTER", "DROP", "COMMENT", "SECURITY"), Compatibility.apply_object),
    **dict.fromkeys(("GRANT", "REVOKE"), Compatibility.apply_right),
    **dict.fromkeys(("ANALYZE", "VACUUM"), Compatibility.leave_out),
    "REFRESH": Compatibility.run,
}


def not_of_a_dump(statement: Statement) -> UsageError:
    """Return the error for a statement that no dump of one database holds."""
    return UsageError(
        f"the file holds a statement that no dump of one database has: {beginning(statement)}",
        "it may change databases, roles or settings of the whole server, or run a program; nothing was restored. "
        "Look at the file; psql runs it as it is",
    )


def beginning(statement: Statement) -> str:
    """Return the first words of a statement, without any value."""
    words: list[str] = []
    for token in statement.tokens():
        if token.kind not in ("word", "quoted") or len(words) == 4:
            break
        words.append(statement.decode(token.text))
    return " ".join(words) or "no command"


def setting_tokens(statement: Statement) -> list[Token]:
    """Return the tokens of a SET or RESET from the setting's name on."""
    tokens = [token for token in statement.tokens() if token.text != b";"][1:]
    return tokens[1:] if len(tokens) > 1 and tokens[0].word in ("SESSION", "LOCAL") else tokens


def setting_name(statement: Statement) -> str:
    """Return the name of the setting of a SET or RESET; '' for a quoted one, which no dump has."""
    return next((token.word.lower() for token in setting_tokens(statement)), "")


def value_of(tokens: Iterable[Token], statement: Statement) -> str:
    """Return the first value of a SET as it is meant; '' for DEFAULT."""
    for token in tokens:
        if token.word in ("TO", "DEFAULT") or token.text == b"=":
            continue
        if token.kind == "string":
            return statement.decode(token.text).strip("'").replace("''", "'")
        return unquote(token.text, statement.encoding) if token.kind in ("word", "quoted") else ""
    return ""


def schema_of_extension(statement: Statement) -> str:
    """Return the schema of a CREATE EXTENSION … WITH SCHEMA; public where it names none."""
    tokens = list(statement.tokens())
    place = find_word(tokens, "SCHEMA")
    return unquote(tokens[place + 1].text, statement.encoding) if place is not None else "public"


def rows_label(*names: str) -> str:
    """Return how the rows of a table are called that were left out; pg_restore lists names with spaces between."""
    return f"rows of {'.'.join(names).replace(' ', '.')}"


def shown(statement: Statement) -> str:
    """Return the kind and name of what is left out."""
    return f"{statement.kind} {statement.name}".strip() if statement.kind else str(statement)


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
