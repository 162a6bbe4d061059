"""The config files: `config.toml` in the platform's config folder, then `./iacalls.toml`; see definition.py."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from iacalls_cli.config.checks import LOCAL_FILE, ConfigError, Place, check_text_or_number, read_rule_age, text_for
from iacalls_cli.config.definition import (
    BUILT_IN,
    CONNECTION_KEYS,
    POOLER_MODES,
    REQUIRED,
    RULE_KEYS,
    SECRET_KEYS,
    TABLES,
    Config,
    Profile,
    RuleSettings,
)
from iacalls_cli.homes import user_folder
from iacalls_cli.safe_files import DamagedFile, ForeignFile, open_trusted

MOST_BYTES = 1 << 20
Problems = list[ConfigError]


def config_files() -> tuple[Path, ...]:
    """The paths that are looked at, in order; they need not exist."""
    local = Path(LOCAL_FILE)
    with suppress(FileNotFoundError):  # the working folder is gone
        local = local.absolute()
    return user_folder("config") / "config.toml", local


def load_config(files: Iterable[Path] | None = None) -> Config:
    """Return what the config files that exist say; raises the first of their `ConfigError`s."""
    config, problems = read_config(files)
    if problems:
        raise problems[0]
    return config


def read_config(files: Iterable[Path] | None = None) -> tuple[Config, Problems]:
    """Return what the config files that exist say, and everything that is wrong with them."""
    config, problems = Config(), Problems()
    for path in config_files() if files is None else files:
        with suppress(FileNotFoundError, NotADirectoryError), collected(problems):
            text, mode = read_trusted(path)
            config = merge(config, parse_toml(text, path), Place(path, mode), problems)
    return config, problems


@contextmanager
def collected(problems: Problems) -> Iterator[None]:
    """Add a `ConfigError` to the others, and go on behind the block."""
    try:
        yield
    except ConfigError as problem:
        problems.append(problem)


def read_trusted(path: Path) -> tuple[str, int]:
    """Return the text of a config file and its mode; raises `ConfigError` for one that cannot be read or trusted.

    As git does with its own: the file, and a link to it, have to belong to this user, to root, or to who called
    sudo; another user could have put it there to redirect a connection. What was opened is what is looked at,
    and what is read.
    """
    place = Place(path)
    try:
        with os.fdopen(open_trusted(path), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o002:
                raise ConfigError(
                    f"every user of this machine may write the config file {path}", f"chmod o-w {path}", place
                )
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise DamagedFile(f"{path} is too large")
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n"), mode
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise ConfigError(
            f"cannot read the config file {path}: {error.strerror}", "check its permissions", place
        ) from None
    except ForeignFile as error:
        raise ConfigError(f"the config file {error.message}", "run this elsewhere, or chown the file", place) from None
    except DamagedFile as error:
        raise ConfigError(f"the config file {error.message}", "a config file is a small regular file", place) from None
    except UnicodeDecodeError:
        raise ConfigError(f"the config file {path} is not UTF-8 text", "save it as UTF-8", place) from None


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """Return the content of a config file; raises `ConfigError` naming file and line."""
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the config file {path} is not valid TOML: {error}", "mend that line", Place(path)) from None


def merge(config: Config, content: Mapping[str, Any], place: Place, problems: Problems) -> Config:
    """Return `config` with what one file says laid over it; what is wrong goes to `problems`."""
    check_keys(content, ("profile", "profiles", *TABLES), place, problems)
    tables = {name: read_table(name, table(content, name, place, problems), place, problems) for name in TABLES}
    profiles = dict(config.profiles)
    for name, value in table(content, "profiles", place, problems).items():
        with collected(problems):
            profiles[name] = read_profile(name, value, replace(place, table=f"profiles.{name}"), problems)
    default_profile = ""
    with collected(problems):
        default_profile = check_text_or_number(place.at("profile"), content.get("profile", ""))
    set_keys = [f"{name}.{key}" for name, values in tables.items() for key in values]
    return Config(
        default_profile or config.default_profile,
        profiles,
        tables["queries"].get("folder", config.queries_folder),
        {**config.session, **tables["session"]},
        replace(config.backup, **tables["backup"]),
        replace(config.maintain, **tables["maintain"]),
        {**config.sources, **dict.fromkeys([*set_keys, *(["profile"] if default_profile else [])], place.file)},
    )


def read_table(name: str, content: Mapping[str, Any], place: Place, problems: Problems) -> dict[str, Any]:
    """Return the values of one file's table, each checked as `definition` says."""
    place = replace(place, table=name)
    if name == "maintain" and place.is_local and content:
        problems.append(
            place.error(
                "would decide on deleting rows from a file in the current folder",
                "[maintain] may stand only in config.toml in your config folder",
            )
        )
        return {}
    checks = {item.name: item.metadata["check"] for item in fields(TABLES[name])}
    check_keys(content, checks, place, problems)
    values: dict[str, Any] = {}
    for key in filter(checks.__contains__, content):
        with collected(problems):
            if key == "rules":
                values[key] = read_rules(content[key], place, problems)
            elif content[key] != "" or name != "queries":  # an empty folder there is none
                values[key] = checks[key](place.at(key), content[key])
    return values


def read_rules(content: Any, place: Place, problems: Problems) -> dict[str, RuleSettings]:
    """Return the rules of `[maintain.rules]`."""
    if not isinstance(content, dict):
        raise place.at("rules").error("is not a table", "write [maintain.rules.NAME]")
    rules = {}
    for name, rule in content.items():
        with collected(problems):
            rules[name] = read_rule(name, rule, replace(place, rule=name), problems)
    return rules


def read_rule(name: str, content: Any, place: Place, problems: Problems) -> RuleSettings:
    """Return one rule; raises `ConfigError` for the last thing that is wrong with it."""
    if name in BUILT_IN:
        raise place.error("has the name of a built-in rule", "give it another name")
    if not name.strip():
        raise ConfigError(f"{place.file}: a rule in 'maintain.rules' has no name", "write [maintain.rules.NAME]", place)
    if not isinstance(content, dict):
        raise place.error("is not a table", f"write [maintain.rules.{name}]")
    found = Problems()
    for key, value in content.items():
        if key not in RULE_KEYS:
            found.append(place.at(key).error("is an unknown key", f"known keys: {', '.join(RULE_KEYS)}"))
        elif not isinstance(value, bool if key == "archive" else str) or value == "":
            example = "true" if key == "archive" else '"…"'
            found.append(place.at(key).error(f"cannot be {value!r}", f"write {key} = {example}"))
        elif key == "age":
            with collected(found):
                text_for(read_rule_age)(place.at(key), value)
    missing = [key for key in REQUIRED if key not in content]
    found += [place.error(f"lacks {key}", f"a rule needs {', '.join(REQUIRED)}") for key in missing]
    if found:
        problems += found[:-1]
        raise found[-1]
    return RuleSettings(name, **content)


def read_profile(name: str, value: Any, place: Place, problems: Problems) -> Profile:
    """Return one `[profiles.NAME]`."""
    path = place.file
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: profiles.{name} is not a table", f"write [profiles.{name}]", place)
    check_keys(value, ("dsn", "pooler", *CONNECTION_KEYS), place, problems)
    keywords = {key: check_text_or_number(place.at(key), text) for key, text in value.items()}
    dsn, pooler = keywords.pop("dsn", ""), keywords.pop("pooler", "")
    if "pooler" in value and pooler not in POOLER_MODES:
        raise place.at("pooler").error(
            f"is not a usable pooling mode: {pooler}",
            'write pooler = "session" for a pooler in session mode; in other modes, name the server itself',
        )
    if bool(dsn) == bool(keywords):
        raise ConfigError(
            f"{path}: profiles.{name} needs either dsn or keywords like host and dbname", "give one of them", place
        )
    secret = any(key in keywords for key in SECRET_KEYS) or has_password(f"{dsn} {keywords.get('options', '')}")
    if secret and place.mode & 0o077:
        raise ConfigError(
            f"the config file {path} holds a password and others may read it",
            f"chmod 600 {path}, or use ~/.pgpass",
            place,
        )
    return Profile(name, dsn, keywords, path, pooler)


def has_password(dsn: str) -> bool:
    """Return whether a DSN, as a URI or a conninfo string, holds a password or another secret."""
    secret = rf"://[^/@\s]*:[^@\s]+@|\b({'|'.join(SECRET_KEYS)})\s*="
    return bool(re.search(secret, f"{dsn} {unquote(dsn)}", re.IGNORECASE))


def check_keys(content: Mapping[str, Any], known: Iterable[str], place: Place, problems: Problems) -> None:
    """Refuse unknown keys by name: a misspelt setting must never be a missing one."""
    for key in content:
        if key not in known:
            at = place.at(key)
            problems.append(
                ConfigError(f"{place.file}: unknown key '{at.name}'", f"known keys: {', '.join(known)}", at)
            )


def table(content: Mapping[str, Any], key: str, place: Place, problems: Problems) -> Mapping[str, Any]:
    """Return a sub-table, empty when absent."""
    value = content.get(key, {})
    if isinstance(value, dict):
        return value
    problems.append(replace(place, table=key).error("is not a table", f"write [{key}]"))
    return {}
