"""The handbook: what it names exists."""

import re

from tests.support import TESTS

SITUATIONS = TESTS.parent / "docs" / "situations.md"


def test_every_test_that_the_table_of_situations_names_exists():
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", SITUATIONS.read_text("utf-8"))
    assert len(named) > 50
    missing = [f"{file}::{name}" for file, name in named if not is_test(file, name)]
    assert missing == []


def is_test(file, name):
    path = TESTS / file
    return path.exists() and re.search(rf"^def {name}\(", path.read_text("utf-8"), re.MULTILINE) is not None
