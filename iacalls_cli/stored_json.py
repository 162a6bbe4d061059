"""JSON that others may have written: its types are checked when it is read.

Each function raises ValueError or TypeError for anything but what its name says.
"""

import json
import re
from datetime import datetime
from typing import Any, cast

from iacalls_cli.safe_files import is_plain_path

# What a 64-bit integer holds: no count or size of ours is larger.
MOST = 2**63 - 1
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def load_json(data: bytes) -> Any:
    """JSON; raises ValueError for anything else, also for what only Python takes for JSON."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object; raises ValueError or TypeError for anything else."""
    content = load_json(data)
    if not isinstance(content, dict):
        raise TypeError(content)
    return cast("dict[str, Any]", content)


def refuse(constant: str) -> None:
    """No number: NaN, Infinity."""
    raise ValueError(constant)


def text_of(value: object) -> str:
    """A text that can be written as UTF-8."""
    if not isinstance(value, str):
        raise TypeError(value)
    value.encode("utf-8")
    return value


def number_of(value: object) -> int:
    """A count or size."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
        raise ValueError(value)
    return value


def time_of(value: object) -> str:
    """A moment with its time zone, of these centuries."""
    moment = datetime.fromisoformat(text_of(value))
    if moment.tzinfo is None or not 1970 < moment.year < 9999:
        raise ValueError(value)
    return text_of(value)


def digest_of(value: object) -> str:
    """A SHA-256 in hexadecimal."""
    if not SHA256.fullmatch(text_of(value)):
        raise ValueError(value)
    return text_of(value)


def path_of(value: object) -> str:
    """The path of a file: one plain name, or one below another."""
    if not is_plain_path(value):
        raise ValueError(value)
    return text_of(value)


def list_of(value: object) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise TypeError(value)
    return value


def texts_of(value: object) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(map(text_of, list_of(value)))
