"""What a target means to libpq: its parameters, resolved as libpq resolves them, and where they lead."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from iacalls_cli.config.target import Target
from iacalls_cli.errors import UsageError

ESCAPES = "in a password write % as %25, @ as %40, / as %2F, : as %3A"
ENCRYPTED = ("require", "verify-ca", "verify-full")


@dataclass(frozen=True)
class Place:
    """Where a session is, for people and for JSON; it never holds a password."""

    host: str
    port: str
    database: str
    user: str
    source: str
    is_embedded: bool = False

    def __str__(self) -> str:
        if self.is_embedded:
            return f"{self.database} on the embedded server"
        has_port = self.host and self.port and not self.host.startswith(("/", "@"))
        address = f"{self.host}:{self.port}" if has_port else self.host
        return f"{self.database} on {address or 'the local socket'} as {self.user}"

    def as_json(self) -> dict[str, str]:
        """The `target` member of the JSON envelope."""
        return {"host": self.host, "port": self.port, "database": self.database, "user": self.user,
                "source": self.source}  # fmt: skip


def libpq_parameters(target: Target) -> dict[str, Any]:
    """Return libpq's parameters for a target; those of the embedded server lack its password until it was started.

    Raises `UsageError` for a DSN that libpq cannot read, without repeating it: a DSN with
    a mistyped password is read wrongly in ways that would show part of the password.
    """
    if target.is_embedded:
        from iacalls_cli.embedded.server import DATABASE, embedded_server

        return {**embedded_server().conninfo(DATABASE), **(target.keywords or {})}
    try:
        parameters: dict[str, Any] = conninfo_to_dict(target.dsn, **(target.keywords or {}))
    except psycopg.ProgrammingError as error:
        # libpq's reasons repeat a piece of the DSN; only this one is known to be harmless.
        harmless = re.search(r'invalid URI query parameter: "\w+"', str(error))
        detail = f": {harmless[0]}" if harmless else ""
        raise UsageError(
            f"the DSN from {target.source} is not a connection URI or conninfo string{detail}",
            f"like postgresql://user@host:5432/database; {ESCAPES}",
        ) from None
    # What a mistyped password leaves behind: an @ where a URI has none, a port of letters.
    is_uri = "://" in target.dsn
    misread = is_uri and any(
        "@" in name for name in (socket_removed(target.dsn, parameters), parameters.get("dbname") or "")
    )
    if misread or not re.fullmatch(r"[\d, ]*", str(parameters.get("port") or "")):
        raise UsageError(
            f"the DSN from {target.source} has no readable host, port and database",
            f"a port is a number; {ESCAPES}",
        )
    return parameters


def socket_removed(dsn: str, parameters: Mapping[str, Any]) -> str:
    """The host of a URI, without the @ of an abstract Unix-domain socket where the URI spells it as one."""
    host = str(parameters.get("host") or "")
    name = host.removeprefix("@")
    return name if host != name and re.search(f"(%40|[?&]host=@){re.escape(name)}", dsn) else host


def resolve(parameters: Mapping[str, Any]) -> dict[str, str]:
    """`parameters` with all that libpq would fill in: from the service, the environment, its defaults."""
    given = {key: str(value) for key, value in parameters.items() if value is not None}
    with environment({"PGSERVICE": given["service"]} if "service" in given else {}):
        options = pq.Conninfo.get_defaults()
        defaults = {option.keyword.decode(): (option.val or b"").decode(errors="replace") for option in options}
    return {**{key: value for key, value in defaults.items() if value}, **given}


def is_encrypted_only(values: Mapping[str, str]) -> bool:
    """Whether resolved parameters lead to no session without TLS."""
    return values.get("sslmode") in ENCRYPTED


def describe(target: Target, values: Mapping[str, str]) -> Place:
    """Where resolved parameters lead."""
    database = values.get("dbname") or values.get("user", "")
    host = values.get("host") or values.get("hostaddr") or ""
    return Place(host, values.get("port", ""), database, values.get("user", ""), target.source, target.is_embedded)


def foreign_variables(target: Target, parameters: Mapping[str, Any]) -> list[str]:
    """The PG* variables that must not mix in.

    None with the embedded server, whose parameters are complete; and no other address than
    that of a host that was named: libpq would go there and tell the host's name.
    """
    if target.is_embedded:
        return [name for name in os.environ if name.startswith("PG")]
    return ["PGHOSTADDR"] if parameters.get("host") or parameters.get("service") else []


@contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables for a moment, or remove them (None)."""
    before = {name: os.environ.get(name) for name in changes}
    apply_changes(changes)
    try:
        yield
    finally:
        apply_changes(before)


def apply_changes(changes: Mapping[str, str | None]) -> None:
    """Set or remove environment variables."""
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def conninfo(parameters: Mapping[str, Any]) -> str:
    """Return parameters as a conninfo string, for a client program."""
    return make_conninfo(**parameters)
