"""Users and their passwords, hashed as the application hashes them: bcrypt `$2b$`, cost 12."""

import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import application_path
from iacalls_cli.errors import DatabaseError, UsageError
from iacalls_cli.operations.db.row_count import make_strict
from iacalls_cli.queries import load_query

DEFAULT_PASSWORD = "admin123"
ADMINISTRATOR = "admin"
COST = 12
# bcrypt looks at no more than this; a longer password would be cut without a word.
PASSWORD_BYTES = 72
# NIST SP 800-63B, 3.1.1.2: a password that a person chooses has at least this many.
LEAST_CHARACTERS = 8
CHECKED_USERS = 40
# PostgreSQL 15 brought privileges on parameters.
GRANTS_VERSION = 150_000
IS_SUPERUSER = "pg_catalog.current_setting('is_superuser') = 'on'"
HAS_GRANT = "pg_catalog.has_parameter_privilege(name, 'SET')"
HIDE = """
    SELECT pg_catalog.set_config(name, CASE name WHEN 'pgaudit.log_parameter' THEN 'off' ELSE '0' END, true)
      FROM pg_catalog.pg_settings
     WHERE name = 'log_parameter_max_length_on_error'
        OR (name IN ('log_parameter_max_length', 'auto_explain.log_parameter_max_length', 'pgaudit.log_parameter')
            AND ({}))"""
# Controls, formats, spaces, private use and what no character has been given to.
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs")
# Letters and marks that are drawn as nothing, and what stands for a character that could not be read.
LOOKS_EMPTY = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffd" + "".join(map(chr, range(0xFE00, 0xFE10)))
)
# A hash that somebody made with a cost of 31 would take days.
MOST_COST = 14
BCRYPT_HASH = re.compile(r"\$2[abxy]?\$(\d\d)\$[./A-Za-z0-9]{53}")


def compose_password(password: str) -> str:
    """The password with composed letters (NFC), as RFC 8265 asks and keyboards send; raises as `check_password`."""
    composed = unicodedata.normalize("NFC", password)
    check_password(composed)
    return composed


def check_password(password: str) -> None:
    """Raise `UsageError` for a password that must not or cannot be used."""
    if "\0" in password:
        raise UsageError("the password holds a NUL byte, where bcrypt would end it", "choose another one")
    for position, character in enumerate(password, 1):
        if is_unseen(character):
            name = unicodedata.name(character, "a control character")
            raise UsageError(
                f"character {position} of the password cannot be seen or typed: U+{ord(character):04X} {name}",
                "leave it out; it may come from copying, or from the program that sent the password",
            )
    if password == DEFAULT_PASSWORD:
        raise UsageError("that is the documented default password", "choose another one")
    if len(password.strip()) < LEAST_CHARACTERS:
        found = "is empty" if not password.strip() else f"is shorter than {LEAST_CHARACTERS} characters"
        raise UsageError(f"the password {found}", f"choose one of at least {LEAST_CHARACTERS} characters")
    if len(password.encode()) > PASSWORD_BYTES:
        raise UsageError(
            f"the password has {len(password.encode())} bytes and bcrypt reads only {PASSWORD_BYTES}",
            "choose a shorter one",
        )


def is_unseen(character: str) -> bool:
    """Whether nobody sees or types a character: controls, marks of direction and width, spaces but the usual one."""
    return (unicodedata.category(character) in UNSEEN and character != " ") or character in LOOKS_EMPTY


def hash_password(password: str) -> str:
    """The bcrypt hash that the application's bcryptjs verifies."""
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode("ascii")


def is_password(password: str, stored: str) -> bool:
    """Whether a stored hash is of this password; text that is no bcrypt hash is of none."""
    import bcrypt

    if not BCRYPT_HASH.fullmatch(stored):
        return False
    try:
        return bcrypt.checkpw(password.encode(), stored.encode())
    except ValueError:
        return False


def users_with_default_password(connection: Connection) -> tuple[list[str], int]:
    """Active users whose password is the documented default, and how many were not looked at.

    A check takes a quarter of a second of one processor, so no more than `CHECKED_USERS` are
    looked at, administrators first.
    """
    with connection.transaction(force_rollback=True):
        # Where row security would hide users, an error says so.
        make_strict(connection)
        rows = fetch(connection, load_query("users/hashes"), {"limit": CHECKED_USERS})
    cheap = [row for row in rows if cost_of(row["password"]) <= MOST_COST]
    with ThreadPoolExecutor() as pool:
        known = list(pool.map(lambda row: is_password(DEFAULT_PASSWORD, row["password"]), cheap))
    names = [row["username"] for row, is_known in zip(cheap, known, strict=True) if is_known]
    return names, (rows[0]["users"] - len(cheap) if rows else 0)


def cost_of(stored: str) -> int:
    """The cost of a bcrypt hash, 0 for text that is none; each one more takes twice the time."""
    match = BCRYPT_HASH.fullmatch(stored)
    return int(match[1]) if match else 0


def hide_parameters(connection: Connection) -> None:
    """Keep values out of the server's log until the transaction ends, as far as the role may.

    With log_statement = all, a hash would stand there as a parameter. Only a superuser, or a role with
    SET on that parameter (PostgreSQL 15 and newer), may change that.
    """
    has_grants = connection.info.server_version >= GRANTS_VERSION
    connection.execute(HIDE.format(f"{IS_SUPERUSER} OR {HAS_GRANT}" if has_grants else IS_SUPERUSER))


def require_user(connection: Connection, username: str) -> None:
    """Raise `DatabaseError` unless there is a user of that name."""
    with connection.transaction(), application_path(connection):
        found = fetch(connection, load_query("users/find"), {"username": username})
    if not found:
        raise DatabaseError(f"there is no user {username}, nothing was changed", "`iacalls users list` shows them")


def set_password(connection: Connection, username: str, password: str, *, dry_run: bool = False) -> None:
    """Store a new password for one user, in a transaction; with `dry_run` it is rolled back.

    Triggers on users have the application's search_path. Raises `DatabaseError` unless exactly one
    row is updated.
    """
    import psycopg

    values = {"username": username, "password": hash_password(password)}
    with connection.transaction():
        hide_parameters(connection)
        with application_path(connection):
            updated = len(fetch(connection, load_query("users/set-password"), values))
        if updated != 1:
            raise DatabaseError(f"{updated} users are named {username}, nothing is changed", "see `iacalls users list`")
        if dry_run:
            raise psycopg.Rollback
