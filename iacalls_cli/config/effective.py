"""The effective configuration as `iacalls config show` prints it: each key, its value and where that is from."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from iacalls_cli.config.definition import HOOKS, SECRET_KEYS, Config, SessionSettings
from iacalls_cli.config.file import has_password
from iacalls_cli.table import Prose

HIDDEN = "***"
DEFAULT = "default"


@dataclass(frozen=True)
class EffectiveSetting:
    """A key, its value and the file it is from, or `default`."""

    key: Prose
    value: Prose | int | bool | None
    source: Prose


def effective_settings(config: Config) -> Iterator[EffectiveSetting]:
    """Yield the keys in the order of the documentation, without a secret.

    A hook's arguments and the path of its URL are left out: services put their tokens there.
    """
    yield setting_of(config, "profile", config.default_profile or None)
    for name, profile in config.profiles.items():
        for key, value in {"dsn": profile.dsn, **profile.keywords, "pooler": profile.pooler}.items():
            is_secret = key in SECRET_KEYS or has_password(value)
            if value:
                yield EffectiveSetting(f"profiles.{name}.{key}", HIDDEN if is_secret else value, str(profile.file))
    yield setting_of(config, "queries.folder", config.queries_folder)
    for key, value in (asdict(SessionSettings()) | dict(config.session)).items():
        yield setting_of(config, f"session.{key}", value)
    for table, settings in (("backup", config.backup), ("maintain", config.maintain)):
        for item in fields(settings):
            value = getattr(settings, item.name)
            if not isinstance(value, Mapping):
                yield setting_of(config, f"{table}.{item.name}", shorten_hook(value) if item.name in HOOKS else value)
    for name, rule in config.maintain.rules.items():
        for key, value in asdict(rule).items():
            if key != "name":
                source = str(config.sources["maintain.rules"])
                yield EffectiveSetting(f"maintain.rules.{name}.{key}", value if value != "" else None, source)


def setting_of(config: Config, key: str, value: Any) -> EffectiveSetting:
    """Return one key with its source."""
    shown = str(value) if isinstance(value, Path) else value
    return EffectiveSetting(key, shown, str(config.sources.get(key, DEFAULT)))


def shorten_hook(words: tuple[str, ...]) -> str | None:
    """Return a hook's program, or its URL's host, without what may be a token."""
    if not words:
        return None
    if words[0].startswith(("http://", "https://")):
        url = urlsplit(words[0])
        return f"{url.scheme}://{url.netloc.rpartition('@')[2]}/…"
    return f"{words[0]} …" if len(words) > 1 else words[0]
