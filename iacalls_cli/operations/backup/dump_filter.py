"""The filter that every statement of a dump passes: it lists what pg_dump writes about one database.

Anything else ends the restore, also what is not known to be dangerous. The filter is no sandbox:
functions, defaults, triggers and index expressions of a dump run with the privileges of the
restoring role.
"""

import re
from collections.abc import Callable, Iterable

from psycopg import sql

from iacalls_cli.database.extended import execute_alone
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.backup.compatibility import EVERYONE, Compatibility, setting_name, setting_tokens
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
from iacalls_cli.operations.backup.grants import read_grant
from iacalls_cli.operations.backup.kept_statements import KeptStatements
from iacalls_cli.operations.backup.own_database import OwnDatabase
from iacalls_cli.operations.backup.script import check_command
from iacalls_cli.operations.backup.statement import Statement, find_word
from iacalls_cli.queries import load_query
from iacalls_cli.sql_text import Token, unquote

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
ENABLE_ROW_SECURITY = re.compile(rb"\s(?:ENABLE|FORCE)\s+ROW\s+LEVEL\s+SECURITY\s*;\s*$", re.IGNORECASE)
OWNER = re.compile(rb"ALTER\s.+\sOWNER\s+TO\s+(" + NAME + rb")\s*;\s*", re.DOTALL | re.IGNORECASE)
# Extensions whose functions a restore test can do without, because PostgreSQL has what they are for.
STAND_INS = ("uuid-ossp", "pgcrypto")


class DumpFilter:
    """The filter for one script: `apply` says what of a statement can run on this server.

    Owners, privileges, row security and event triggers are kept for the end.
    """

    def __init__(self, server: Compatibility) -> None:
        self.server = server
        self.kept = KeptStatements(server)
        self.database = OwnDatabase()
        self.authorization = ""
        self.has_begun = False

    def apply(self, text: bytes) -> bytes | None:
        """Return the statement where it can run here, None where it cannot or has to wait.

        Raises `UsageError` for a statement that no dump of one database holds.
        """
        statement = self.server.read(text)
        handler = HANDLERS.get(statement.command)
        if handler is None:
            raise not_of_a_dump(statement)
        if self.database.takes(statement, is_first=not self.has_begun):
            self.server.left_out[f"statements about the database {self.database.name}"] = "the new one is there"
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
            if wanted and wanted not in self.server.tablespaces:
                self.server.lacking_tablespaces[wanted] = None
                return b"SET default_tablespace = '';"
        if name == "search_path" and self.server.search_path:
            return self.set_search_path()
        if name == "search_path":
            self.kept.path = statement.text
        if name in SETTINGS:
            return statement.text
        if name not in TIMEOUTS:
            self.server.left_out[f"setting {name}"] = ""
        return None

    def set_search_path(self) -> bytes:
        """Return the statement that sets the path that was asked for, in place of the dump's own."""
        return sql.SQL("SET search_path = {}").format(sql.SQL(self.server.search_path)).as_bytes()

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
            self.kept.path = self.set_search_path() if self.server.search_path else statement.text
            return self.kept.path
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
                self.server.left_out["comment on the database"] = ""
                return None
            raise not_of_a_dump(statement)
        if statement.identifiers[:1] == ("pg_catalog",) and statement.command in ("CREATE", "ALTER"):
            raise not_of_a_dump(statement)
        if owner := OWNER.fullmatch(text):
            self.kept.keep_owner(statement, unquote(owner[1], statement.encoding))
            return None
        if not is_of_one_object(statement):
            raise not_of_a_dump(statement)
        if kind == "DEFAULT PRIVILEGES":
            self.kept.keep(self.kept.rights, statement)
            return None
        if kind == "EXTENSION":
            return self.apply_extension(statement)
        if kind == "SUBSCRIPTION" and self.server.is_test:
            self.server.left_out[f"{kind} {statement.name.split(' ')[0]}"] = "a copy must not take its changes"
            return None
        if kind == "EVENT TRIGGER" and statement.command != "DROP":
            self.kept.keep(self.kept.event_triggers, statement)
            return None
        if kind in ("LANGUAGE", "PROCEDURAL LANGUAGE") and statement.identifiers == ("plpgsql",):
            return None  # every database has it
        if kind == "POLICY" and statement.command == "CREATE":
            return self.apply_policy(statement)
        if kind == "USER MAPPING":
            return self.apply_mapping(statement)
        if kind == "TABLE":
            if statement.command == "CREATE":
                self.server.tables.add(statement.identifiers)
            if ENABLE_ROW_SECURITY.search(text):
                self.kept.keep(self.kept.late, statement)
                return None
        return text

    def apply_extension(self, statement: Statement) -> bytes | None:
        """CREATE EXTENSION and COMMENT ON EXTENSION, where the server has it."""
        name = statement.identifiers[0] if statement.identifiers else ""
        if name not in self.server.extensions:
            if statement.command == "CREATE":
                if self.server.is_test and name in STAND_INS:
                    self.server.stand_ins[name] = None
                    self.server.create_stand_in(name, schema_of_extension(statement))
                else:
                    self.server.lacking_extensions[name] = None
            return None
        if statement.command in ("COMMENT", "ALTER") and (
            name in self.server.made_beforehand or f"EXTENSION {statement.name}" in self.server.left_out
        ):
            return None
        return statement.text

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
        self.server.lacking_roles.update(dict.fromkeys(missing))
        if not existing:
            self.server.left_out[f"POLICY {statement.name}"] = f"it is for {', '.join(missing)}"
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
        self.server.lacking_roles[unquote(role.text, statement.encoding)] = None
        self.server.left_out[f"USER MAPPING {statement.name}"] = "the role is missing"
        return None

    def is_role(self, token: Token, statement: Statement) -> bool:
        """Whether a token names a role that exists here, or one that always does."""
        name = unquote(token.text, statement.encoding)
        return token.word in EVERYONE or name == "public" or name in self.server.roles

    def apply_right(self, statement: Statement) -> bytes | None:
        """GRANT and REVOKE on objects of one database, kept for the end; never of roles."""
        grant = read_grant(statement)
        if grant is None:
            raise not_of_a_dump(statement)
        if grant.is_on_catalog:
            # Some of it is the whole server's: pg_authid holds every role's password.
            self.server.left_out[f"privileges on {grant.target}"] = "part of the system catalog"
            return None
        self.kept.keep(self.kept.rights, statement)
        return None

    def leave_out(self, statement: Statement) -> bytes | None:
        """What a restore does by itself."""
        return None

    def run(self, statement: Statement) -> bytes | None:
        """What can do no more than it says."""
        return statement.text

    def keep(self, text: bytes) -> None:
        """A filter that runs nothing: it keeps owners and privileges for the end, and notes missing tablespaces."""
        statement = self.server.read(text)
        is_tablespace = statement.command == "SET" and b"default_tablespace" in text
        if OWNER.fullmatch(text) or statement.command in ("GRANT", "REVOKE") or is_tablespace:
            self.apply(text)

    def execute(self, text: bytes) -> None:
        """Run one statement; what it creates goes to the role that SET SESSION AUTHORIZATION named."""
        if not self.authorization or text.lstrip()[:6].upper() != b"CREATE":
            execute_alone(self.server.connection, text)
            return
        with self.server.connection.transaction():
            execute_alone(self.server.connection, text)
            made = fetch(self.server.connection, load_query("backup/new-objects"))
        for row in made:
            altered = sql.SQL("ALTER {} OWNER TO {};").format(
                sql.SQL(row["object"]), sql.Identifier(self.authorization)
            )
            self.kept.keep_owner(Statement(altered.as_bytes()), self.authorization)


HANDLERS: dict[str, Callable[[DumpFilter, Statement], bytes | None]] = {
    **dict.fromkeys(("SET", "RESET"), DumpFilter.apply_setting),
    "SELECT": DumpFilter.apply_call,
    **dict.fromkeys(("BEGIN", "START", "COMMIT", "END"), DumpFilter.apply_transaction),
    **dict.fromkeys(("COPY", "INSERT"), DumpFilter.apply_rows),
    **dict.fromkeys(("CREATE", "ALTER", "DROP", "COMMENT", "SECURITY"), DumpFilter.apply_object),
    **dict.fromkeys(("GRANT", "REVOKE"), DumpFilter.apply_right),
    **dict.fromkeys(("ANALYZE", "VACUUM"), DumpFilter.leave_out),
    "REFRESH": DumpFilter.run,
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
