"""The settings of iacalls's sessions and of the client programs, whatever server, database or role set.

Three kinds: how values are written as text and read back, what statements mean, and how long things
may take. Planner settings (enable_*, work_mem), `role`, `row_security` and
`session_replication_role` are the operator's to decide and stay as they are.
"""

from collections.abc import Mapping

# Values written as text must be the same values when they are read, in another session as well.
EXACT_TEXT = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    # From PostgreSQL 12 on, any value above 0 writes the shortest text that reads back as the same number.
    "extra_float_digits": "1",
    # Otherwise an unquoted NULL in an array is read as text.
    "array_nulls": "on",
    # Otherwise a fragment of XML cannot be read.
    "xmloption": "content",
}
# The amount, not the currency: what one locale writes, another one reads as another amount or not at all.
EXACT_MONEY = {"lc_monetary": "C"}
PLAIN_SQL = {
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    # Our locks and SKIP LOCKED are meant for this level; another one is asked for where it is needed.
    "default_transaction_isolation": "read committed",
}
# The major version that brought a setting, if that is younger than the oldest supported server.
SINCE = {"idle_session_timeout": 14, "transaction_timeout": 17}
UNLIMITED = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}


def known_settings(settings: Mapping[str, str], server_version: int) -> dict[str, str]:
    """Return the settings that a server knows; `server_version` as libpq has it, like 150018."""
    return {name: value for name, value in settings.items() if server_version // 10_000 >= SINCE.get(name, 0)}


def program_options(server_version: int) -> str:
    """Return libpq's `options` for pg_dump, pg_restore and psql, which work without time limits.

    lc_monetary is left out: a dump is also restored by other programs, in sessions that have the
    database's own.
    """
    settings = {
        **EXACT_TEXT,
        "standard_conforming_strings": "on",
        "transform_null_equals": "off",
        "default_transaction_read_only": "off",
        "default_transaction_isolation": "read committed",
        **UNLIMITED,
    }
    known = known_settings(settings, server_version)
    return " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in known.items())
