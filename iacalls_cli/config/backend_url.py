"""The backend's DATABASE_URL as libpq takes it: what only drivers of JavaScript know is left out by name.

node-postgres and Prisma read options of their own from a URL, and libpq refuses every one that it
does not know. Only these two variables are read so: in `--dsn` an unknown option stays an error.
"""

from urllib.parse import unquote

from iacalls_cli.errors import UsageError

# Pools, caches and time-outs of node-postgres, Prisma and postgres.js; none of them says where the database is.
OTHER_DRIVERS = (
    "uselibpqcompat", "encoding", "statement_timeout", "query_timeout", "lock_timeout",
    "idle_in_transaction_session_timeout", "idleTimeoutMillis", "connectionTimeoutMillis", "max", "min",
    "allowExitOnIdle", "keepAlive", "keepAliveInitialDelayMillis", "maxUses", "maxLifetimeSeconds", "binary",
    "connection_limit", "pool_timeout", "pgbouncer", "socket_timeout", "statement_cache_size", "sslaccept",
    "sslidentity", "single_use_connections", "max_connection_lifetime", "max_idle_connection_lifetime",
    "idle_timeout", "max_lifetime", "prepare", "fetch_types", "supa", "workaround",
)  # fmt: skip
# Prisma's certificate of the server and its key file have the names of libpq's client certificate.
PRISMA_TLS = ("sslaccept", "sslidentity")
SCHEMA_OPTIONS = ("schema", "currentSchema", "search_path")
SSL_WORDS = {"true": "require", "1": "require", "no-verify": "require", "false": "disable", "0": "disable"}


def read_backend_url(url: str, variable: str) -> tuple[str, tuple[str, ...]]:
    """The URL for libpq, and the names of the options that were left out.

    `sslmode=no-verify` and `ssl=true` are `sslmode=require`. Raises `UsageError` for a schema other than
    public. What is no URI comes back as it is.
    """
    if "://" not in url:
        return url, ()
    base, query = split_query(url)
    pairs = [piece.partition("=") for piece in query.split("&") if piece]
    options = [(unquote(name), unquote(value), name + separator + value) for name, separator, value in pairs]
    names = [name for name, _, _ in options]
    kept: list[str] = []
    left_out: list[str] = []
    for name, value, text in options:
        if name in SCHEMA_OPTIONS:
            require_public(value, variable)
            left_out.append(name)
        elif name in OTHER_DRIVERS or (name == "sslcert" and any(option in names for option in PRISMA_TLS)):
            left_out.append(name)
        elif name == "sslmode" and value == "no-verify":
            kept.append("sslmode=require")
        elif name == "ssl" and value in SSL_WORDS:
            # As node-postgres does: sslmode is stronger.
            if "sslmode" not in names:
                kept.append(f"sslmode={SSL_WORDS[value]}")
        else:
            kept.append(text)
    return base + ("?" + "&".join(kept) if kept else ""), tuple(dict.fromkeys(left_out))


def says_sslmode(url: str) -> bool:
    """Whether a URL for libpq decides about TLS itself."""
    return any(piece.startswith("sslmode=") for piece in split_query(url)[1].split("&"))


def split_query(url: str) -> tuple[str, str]:
    """A URI before and behind its `?`; one in the password, before the first @, belongs to the password."""
    start = url.index("://") + 3 if "://" in url else 0
    end = url.find("/", start)
    at = url.find("@", start, end if end >= 0 else len(url))
    base, _, query = url[max(at, 0) :].partition("?")
    return url[: max(at, 0)] + base, query


def require_public(schemas: str, variable: str) -> None:
    """Raise `UsageError` unless a list of schemas begins with public."""
    first = schemas.split(",", maxsplit=1)[0].strip().strip('"')
    if first not in ("public", ""):
        raise UsageError(
            f"{variable} names the schema {first!r}, and iacalls works on schema public",
            f"take the schema out of {variable}, or give --dsn",
        )
