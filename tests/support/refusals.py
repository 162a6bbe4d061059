"""What the database refuses, on a session of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from iacalls_cli.errors import DatabaseError


@contextmanager
def refused(*kinds: type[psycopg.Error]) -> Iterator[None]:
    """Expect a `DatabaseError` with the SQLSTATE of one of these classes of psycopg's."""
    with pytest.raises(DatabaseError) as caught:
        yield
    assert caught.value.sqlstate in [kind.sqlstate for kind in kinds]
