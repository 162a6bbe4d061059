"""libpq's connection options that older client programs do not know: they refuse a DSN, or worse, do without.

An option that only stands in the environment is ignored by programs that do not know it: with
PGREQUIREAUTH they would log in by any method.
"""

from collections.abc import Mapping
from typing import Any

from psycopg import pq

# The major version that brought an option, if that is younger than the oldest supported client programs.
SINCE = {
    "sslcertmode": 16,
    "require_auth": 16,
    "load_balance_hosts": 16,
    "gssdelegation": 17,
    "sslnegotiation": 17,
    "min_protocol_version": 18,
    "max_protocol_version": 18,
    "scram_client_key": 18,
    "scram_server_key": 18,
    "oauth_issuer": 18,
    "oauth_client_id": 18,
    "oauth_client_secret": 18,
    "oauth_scope": 18,
    "sslkeylogfile": 18,
}
SYSTEM_ROOTS_SINCE = 16  # sslrootcert=system, before that the name of a file


def newer_options(values: Mapping[str, str]) -> dict[str, int]:
    """Return the options in use that not all client programs know, each with the version that brought it.

    `values` are resolved parameters. What has libpq's own default is not in use. Nor is load balancing:
    programs go to the server of the session; but in a service file, programs have to know it.
    """
    defaults = {option.keyword.decode(): (option.compiled or b"").decode() for option in pq.Conninfo.get_defaults()}
    found = {
        name: major for name, major in SINCE.items() if values.get(name) and values[name] != defaults.get(name, "")
    }
    if "service" not in values:
        found.pop("load_balance_hosts", None)
    if values.get("sslrootcert") == "system":
        found["sslrootcert=system"] = SYSTEM_ROOTS_SINCE
    return found


def without_newer(parameters: Mapping[str, Any], major: int) -> dict[str, Any]:
    """Return parameters without the options, at their defaults, that programs of a version do not know."""
    return {name: value for name, value in parameters.items() if SINCE.get(name, 0) <= major}


def explain_needs(needs: Mapping[str, int], known: str) -> tuple[str, str]:
    """Return message and hint for options that no usable client programs know; `known` is what there is."""
    major = max(needs.values())
    named = ", ".join(name for name, since in needs.items() if since == major)
    return (
        f"{named} of this connection needs client programs of PostgreSQL {major} or newer; there are: {known}",
        f"install PostgreSQL's client package, like postgresql-client-{major}, or leave that option out",
    )
