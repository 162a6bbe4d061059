"""Which database a command works on, and who said so.

In order: `--dsn` or `--profile` on the command line, IACALLS_DSN, the config file's
profile, libpq's PG* variables, the variables of the IA-Calls backend, and last, only at
a terminal with nothing configured, the embedded server.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from iacalls_cli.config.backend_url import read_backend_url, says_sslmode
from iacalls_cli.config.definition import Config, Profile
from iacalls_cli.config.file import load_config
from iacalls_cli.errors import ConnectionFailed, UsageError

EMBEDDED = "embedded"
# The PG* variables that name a server, a database or a role. Credentials and tuning
# (PGPASSWORD, PGSSLMODE, PGOPTIONS, …) choose nothing by themselves.
NAMING_VARIABLES = ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER")
PRODUCTION_VARIABLES = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER")
HINT_NOTHING = "give --dsn (or --dsn embedded), set IACALLS_DSN, or write a profile into the config file"


@dataclass(frozen=True)
class Target:
    """A chosen database: `dsn` and `keywords` go to libpq as they are, keywords first.

    `source` says who chose it. Both empty means: libpq's own environment decides. `pooler` is
    "session" if a connection pooler in session mode is expected in front of the server. `left_out`
    are options of a URL that only other drivers know.
    """

    source: str
    dsn: str = ""
    keywords: Mapping[str, str] | None = None
    is_embedded: bool = False
    pooler: str = ""
    left_out: tuple[str, ...] = ()


def choose_target(
    dsn: str | None,
    profile: str | None,
    environment: Mapping[str, str] | None = None,
    load: Callable[[], Config] = load_config,
    has_terminal: Callable[[], bool] = lambda: sys.stdin is not None and sys.stdin.isatty(),
) -> Target:
    """The target by the precedence above.

    Raises `UsageError` for contradictory or unknown choices and `ConnectionFailed` when
    nothing, or only half of something, is configured: a missing setting must never make
    a job run against another database than yesterday's.
    """
    variables = os.environ if environment is None else environment
    if dsn is not None and profile is not None:
        raise UsageError("--dsn and --profile both name a target", "give one of them")
    if dsn is not None:
        return from_dsn(dsn, "--dsn")
    config = load()
    if profile is not None:
        return from_profile(config, profile, "--profile")
    if "IACALLS_DSN" in variables:
        return from_dsn(variables["IACALLS_DSN"], "IACALLS_DSN")
    if config.default_profile:
        return from_profile(config, config.default_profile, "the config file")
    if named := [name for name in NAMING_VARIABLES if variables.get(name)]:
        return Target(f"the environment's {', '.join(named)}")
    if backend := from_backend(variables):
        return backend
    if config.profiles:
        raise ConnectionFailed(
            f"no target chosen: {config.files} has the profiles {', '.join(config.profiles)} and no default",
            'give --profile NAME, or write profile = "NAME" at the top of the file',
        )
    if not has_terminal():
        raise ConnectionFailed("no database is configured, and without a terminal none is guessed", HINT_NOTHING)
    return Target("default", is_embedded=True)


def from_dsn(dsn: str, source: str) -> Target:
    """A target from one text: `embedded`, a URI, or a conninfo string."""
    if not dsn.strip():
        raise UsageError(f"the DSN from {source} is empty", HINT_NOTHING)
    if dsn.strip() == EMBEDDED:
        return Target(source, is_embedded=True)
    return Target(source, dsn=dsn)


def from_profile(config: Config, name: str, source: str) -> Target:
    """A target from a profile of the config files."""
    profile: Profile | None = config.profiles.get(name)
    if profile is None:
        known = ", ".join(config.profiles) or "none"
        raise UsageError(f"there is no profile '{name}' (chosen by {source})", f"profiles in the config files: {known}")
    described = f"profile {name} of {profile.file}"
    if profile.dsn:
        return replace(from_dsn(profile.dsn, described), pooler=profile.pooler)
    return Target(described, keywords=profile.keywords, pooler=profile.pooler)


def from_backend(variables: Mapping[str, str]) -> Target | None:
    """The target of the backend's own variables, read as the backend reads them; None without any.

    In production DB_*, all of them, with TLS and without a certificate check; elsewhere
    DATABASE_LOCAL_URL. DATABASE_URL, which the backend ignores, is a convenience.
    """
    production = variables.get("NODE_ENV") == "production"
    given = [name for name in (*PRODUCTION_VARIABLES, "DB_PASSWORD") if variables.get(name)]
    missing = [name for name in PRODUCTION_VARIABLES if name not in given]
    if production and given:
        if missing:
            raise ConnectionFailed(
                f"NODE_ENV is production and {' and '.join(missing)} not set",
                "set all of DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, as the backend needs them",
            )
        keywords = {
            "host": variables["DB_HOST"],
            "port": variables["DB_PORT"],
            "dbname": variables["DB_NAME"],
            "user": variables["DB_USER"],
            "sslmode": "require",
        }
        if variables.get("DB_PASSWORD"):
            keywords["password"] = variables["DB_PASSWORD"]
        return Target("the backend's DB_* variables", keywords=keywords)
    if variables.get("DATABASE_LOCAL_URL") and not production:
        url, left_out = read_backend_url(variables["DATABASE_LOCAL_URL"], "DATABASE_LOCAL_URL")
        return Target("the backend's DATABASE_LOCAL_URL", dsn=url, left_out=left_out)
    if variables.get("DATABASE_URL"):
        url, left_out = read_backend_url(variables["DATABASE_URL"], "DATABASE_URL")
        # TLS is the backend's rule in production; a URL that says otherwise is obeyed.
        keywords = {"sslmode": "require"} if production and not says_sslmode(url) else {}
        return Target("DATABASE_URL", dsn=url, keywords=keywords, left_out=left_out)
    if production:
        raise ConnectionFailed(
            "NODE_ENV is production and no DB_* variable is set",
            "set DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, or give --dsn",
        )
    if given:
        raise ConnectionFailed(
            f"{', '.join(given)} set, which the backend reads only where NODE_ENV is production",
            "set NODE_ENV=production or DATABASE_LOCAL_URL, as the backend needs them, or give --dsn",
        )
    return None
