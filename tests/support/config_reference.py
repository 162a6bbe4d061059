"""docs/config.md, made from the definition of the config files."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from iacalls_cli.config.definition import (
    CONNECTION_KEYS,
    POOLER_MODES,
    REQUIRED,
    RULE_KEYS,
    TABLES,
    RuleSettings,
)

HEAD = """# Configuration

This page is made from the definition of the config files by `make golden`; a test keeps it in step.

`config.toml` in the platform's config folder (`~/.config/iacalls/` on Linux), then `./iacalls.toml`, whose keys win.
Unknown keys are refused by name. So is a file that belongs to another user or that everyone may write, since it could
send your password to another server, and a file with a password in it that others may read (`chmod 600`); `sslpassword`,
`scram_client_key`, `scram_server_key` and `oauth_client_secret` count as passwords. The same holds for symbolic links: one
of yours is followed, one of another user is refused. Hooks in a file that its group may write are refused (`chmod g-w`). A
user without a home directory needs `HOME`, or `XDG_CONFIG_HOME` and `XDG_DATA_HOME`.

`[maintain]` and the hooks of `[backup]` are refused in `./iacalls.toml`, which may have come with a directory that another user made.
Options win over the config files; the help of a command shows the defaults that they set. `iacalls config show` prints the
effective configuration with the source of each value, without secrets. `iacalls config check` lists everything that is
wrong with the files, and exits with 4 then; other commands stop at the first finding, with exit code 2.

```toml
profile = "staging"                # used when no target is named

[profiles.staging]
host = "10.1.2.3"                  # libpq's keywords …
dbname = "iacalls_db"
user = "postgres"
sslmode = "verify-full"
passfile = "/home/ana/.pgpass"
# pooler = "session"               # only behind a connection pooler in session mode, see usage.md

[profiles.production]
dsn = "service=iacalls"            # … or one dsn

[queries]
folder = "~/iacalls-queries"       # your own reports, see queries.md

[session]
statement_timeout = "15min"        # a report may run this long
lock_timeout = "2s"                # and wait this long for a lock

[backup]                           # see backups.md
directory = "/srv/backups/iacalls"

[maintain]                         # see maintenance.md
keep_archives = "180d"
days = 30
```
"""


def reference() -> str:
    """The whole page."""
    return HEAD + "\n".join(sections()) + "\n"


def sections() -> Iterator[str]:
    """One section a table."""
    yield from section("Top level", [("profile", "", "Profile to use if no target is named.")])
    keywords = ", ".join(f"`{key}`" for key in CONNECTION_KEYS)
    yield from section(
        "`[profiles.NAME]`",
        [
            ("dsn", "", "The database: a URI, a conninfo string, service=NAME, or embedded."),
            ("pooler", "", f"Pooling mode of a connection pooler in front of the server: {', '.join(POOLER_MODES)}."),
        ],
    )
    yield f"\nOr, instead of `dsn`, libpq's keywords: {keywords}."
    for name, table in TABLES.items():
        rows = [(item.name, item.default, item.metadata["meaning"]) for item in fields(table) if item.name != "rules"]
        yield from section(f"`[{name}]`", rows)
    defaults = {item.name: item.default for item in fields(RuleSettings)}
    rows = [(key, "required" if key in REQUIRED else defaults[key], meaning) for key, meaning in RULE_KEYS.items()]
    yield from section("`[maintain.rules.NAME]`", rows)


def section(title: str, rows: list[tuple[str, Any, str]]) -> Iterator[str]:
    """A heading and the keys of a table with their defaults."""
    yield from ("", f"## {title}", "", "| key | default | meaning |", "|---|---|---|")
    for key, default, meaning in rows:
        yield f"| `{key}` | {written(default)} | {meaning} |"


def written(default: Any) -> str:
    """A default as TOML has it."""
    if default in (None, "", ()):
        return ""
    if default == "required":
        return default
    return f'`"{default}"`' if isinstance(default, str) else f"`{str(default).lower()}`"
