"""Who keeps a command from a table, by holding a lock or waiting for one, and how it tries again."""

import threading
from types import SimpleNamespace

import pytest

from iacalls_cli.database.sqlstates import (
    CANCELLED,
    DEADLOCK,
    LOCK_NOT_AVAILABLE,
    SERIALIZATION_FAILURE,
    UNIQUE_VIOLATION,
)
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.cleanup import delete
from iacalls_cli.operations.maintain.locks import (
    BLOCKING_ALL,
    BLOCKING_MAINTENANCE,
    BLOCKING_READS,
    BLOCKING_WRITES,
    find_lock_holders,
    name_lock_holders,
    retry,
)
from tests.support.live_load import wait_until
from tests.support.servers import OWNER

WAITING = "SELECT FROM pg_locks WHERE relation = 'public.users'::regclass AND NOT granted"


@pytest.fixture
def users(connection):
    """The oid of the table users."""
    return connection.execute("SELECT 'public.users'::regclass::oid::bigint").fetchone()[0]


@pytest.mark.parametrize(
    ("mode", "blocked"),
    [
        ("ACCESS SHARE", (BLOCKING_ALL,)),
        ("ROW EXCLUSIVE", (BLOCKING_ALL,)),
        ("SHARE UPDATE EXCLUSIVE", (BLOCKING_ALL, BLOCKING_MAINTENANCE)),
        ("SHARE", (BLOCKING_ALL, BLOCKING_MAINTENANCE, BLOCKING_WRITES)),
        ("ACCESS EXCLUSIVE", (BLOCKING_ALL, BLOCKING_MAINTENANCE, BLOCKING_WRITES, BLOCKING_READS)),
    ],
)
def test_a_lock_blocks_what_conflicts_with_its_mode(server, database, connection, users, mode, blocked):
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("SET application_name = 'migration'")
        other.execute(f"LOCK TABLE public.users IN {mode} MODE")
        for modes in (BLOCKING_ALL, BLOCKING_MAINTENANCE, BLOCKING_WRITES, BLOCKING_READS):
            names = name_lock_holders(connection, users, modes=modes)
            assert names.startswith(f"session {other.info.backend_pid} (migration) since 2") is (modes in blocked)


def test_one_that_waits_is_named(server, database, connection, users):
    """A reader lets VACUUM in; an ALTER TABLE that waits for the reader does not, and holds nothing."""
    with server.connect(database, OWNER) as reader, server.connect(database, OWNER) as waiting:
        reader.execute("BEGIN; SELECT count(*) FROM public.users")
        thread = threading.Thread(target=waiting.execute, args=("ALTER TABLE public.users ADD COLUMN n int",))
        thread.start()
        wait_until(lambda: connection.execute(WAITING).fetchone() is not None)
        assert name_lock_holders(connection, users).startswith(f"session {waiting.info.backend_pid} ({OWNER}) since 2")
        reader.execute("ROLLBACK")
        thread.join()


def test_a_prepared_transaction_is_named_for_any_command(server, database, connection, users):
    with server.connect(database, OWNER) as other:
        other.execute("BEGIN; LOCK TABLE public.users IN ACCESS EXCLUSIVE MODE")
        other.execute(f"PREPARE TRANSACTION 'py {database}'")
        try:
            named = f"prepared transaction py {database} ({OWNER}) since 2"
            assert name_lock_holders(connection, users, modes=BLOCKING_WRITES).startswith(named)
            (holder,) = find_lock_holders(connection, BLOCKING_READS)
            assert (holder["schema"], holder["relation"], holder["is_prepared"]) == ("public", "users", True)
        finally:
            other.execute(f"ROLLBACK PREPARED 'py {database}'")


def test_one_that_locks_only_an_index_is_named(server, database, connection, users):
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("REINDEX INDEX public.users_pkey")
        assert name_lock_holders(connection, users, modes=BLOCKING_READS).startswith("session ")


def test_many_are_counted(server, database, connection, users):
    others = [server.connect(database, OWNER) for _ in range(5)]
    for other in others:
        other.execute("BEGIN; SELECT count(*) FROM public.users")
    assert name_lock_holders(connection, users, modes=BLOCKING_ALL).endswith(", 2 more")
    for other in others:
        other.close()


@pytest.fixture
def pauses():
    return []


def fail_with(*sqlstates):
    """An action that fails with these SQLSTATEs, one after the other, then returns how often it was run."""
    left = list(sqlstates)

    def act():
        if left:
            raise DatabaseError("no", sqlstate=left.pop(0))
        return len(sqlstates) + 1

    return act


def test_what_passes_is_tried_again(pauses):
    assert retry(fail_with(LOCK_NOT_AVAILABLE, DEADLOCK), pauses.append) == 3
    assert len(pauses) == 2
    assert all(0.5 <= pause <= 1.5 for pause in pauses)


@pytest.mark.parametrize(
    ("sqlstates", "tries"),
    [((LOCK_NOT_AVAILABLE,) * 3, 3), ((SERIALIZATION_FAILURE, UNIQUE_VIOLATION), 2), ((CANCELLED,), 1)],
)
def test_the_last_error_is_raised(pauses, sqlstates, tries):
    with pytest.raises(DatabaseError) as raised:
        retry(fail_with(*sqlstates), pauses.append)
    assert (raised.value.sqlstate, len(pauses)) == (sqlstates[-1], tries - 1)


def test_what_was_cancelled_for_another_session_is_tried_again(pauses):
    assert retry(fail_with(CANCELLED), pauses.append, lambda: "session 7") == 2


def test_the_waits_of_a_cleanup_grow_until_its_time_is_over(monkeypatch):
    clock = SimpleNamespace(monotonic=iter(range(8)).__next__)
    monkeypatch.setattr(delete, "time", clock)
    assert list(delete.growing_waits(6)) == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
