"""Users and their passwords, hashed as the application hashes them: bcrypt `$2b$`, cost 12."""

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError, UsageError
from iacalls_cli.queries import load_query

DEFAULT_PASSWORD = "admin123"
ADMINISTRATOR = "admin"
COST = 12
# bcrypt looks at no more than this; a longer password would be cut without a word.
PASSWORD_BYTES = 72
CHECKED_USERS = 20


def check_password(password: str) -> None:
    """Raise `UsageError` for a password that must not or cannot be used."""
    if not password.strip():
        raise UsageError("the password is empty", "choose one of at least 12 characters")
    if password == DEFAULT_PASSWORD:
        raise UsageError("that is the documented default password", "choose another one")
    if len(password.encode()) > PASSWORD_BYTES:
        raise UsageError(
            f"the password has {len(password.encode())} bytes and bcrypt reads only {PASSWORD_BYTES}",
            "choose a shorter one",
        )
    if "\0" in password:
        raise UsageError("the password holds a NUL byte, where bcrypt would end it", "choose another one")


def hash_password(password: str) -> str:
    """The bcrypt hash that the application's bcryptjs verifies."""
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode("ascii")


def is_password(password: str, stored: str) -> bool:
    """Whether a stored hash is of this password; text that is no bcrypt hash is of none."""
    import bcrypt

    try:
        return bcrypt.checkpw(password.encode(), stored.encode())
    except ValueError:
        return False


def users_with_default_password(connection: Connection) -> list[str]:
    """Active users whose password is the documented default, administrators looked at first.

    A check takes a quarter of a second, so no more than `CHECKED_USERS` are looked at.
    """
    rows = fetch(connection, load_query("users/hashes"), {"limit": CHECKED_USERS})
    return [row["username"] for row in rows if is_password(DEFAULT_PASSWORD, row["password"])]


def set_password(connection: Connection, username: str, password: str, *, dry_run: bool = False) -> None:
    """Store a new password for one user, in a transaction; with `dry_run` it is rolled back.

    Raises `DatabaseError` unless exactly one row is updated.
    """
    import psycopg

    check_password(password)
    values = {"username": username, "password": hash_password(password)}
    with connection.transaction():
        updated = len(fetch(connection, load_query("users/set-password"), values))
        if updated != 1:
            found = "there is no user" if updated == 0 else f"{updated} users are named"
            raise DatabaseError(f"{found} {username}, nothing was changed", "`iacalls users list` shows them")
        if dry_run:
            raise psycopg.Rollback
