"""Fixtures: a real PostgreSQL server, databases on it, and the command line in a clean environment."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from iacalls_cli.database.connection import REPORTING, apply_settings
from iacalls_cli.embedded.server import embedded_server
from iacalls_cli.operations.backup.manifest import Manifest, read_manifest
from iacalls_cli.operations.db.init import apply_schema
from iacalls_cli.operations.maintain.vacuum_table import flush_counts
from tests.support.command_line import CommandLine, Outcome
from tests.support.live_load import MANY_ROWS
from tests.support.old_rows import add_old_rows, rows_of
from tests.support.random_rows import fill
from tests.support.servers import OWNER, READER, TestServer, open_server, server_kind, unused_name

# What of the caller's environment must not reach a test.
OUTSIDE = ("PG", "DB_", "DATABASE_", "IACALLS_", "NODE_ENV", "LC_", "LANG", "NO_COLOR", "_IACALLS")
LARGE = """CREATE TABLE public.grande AS
           SELECT g AS id, md5(g::text) || md5((-g)::text) AS text FROM generate_series(1, 200000) AS g"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the generated files anew")
    parser.addoption("--on-server", action="store_true", help="only the tests that use the server under test")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --on-server, leave out what would be the same on every server: it was run on another one."""
    if config.getoption("--on-server"):
        others = [item for item in items if "server" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it puts into the background so, and every process of the tests would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "postgres(condition): only on servers like '>= 16'")


def pytest_report_header(config: pytest.Config) -> str:
    return f"PostgreSQL: {server_kind()}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    """The server under test, with a non-superuser owner and a read-only role."""
    with open_server() as opened:
        yield opened


@pytest.fixture(autouse=True)
def wanted_server(request: pytest.FixtureRequest) -> None:
    """Skip a test marked for other server versions."""
    marker = request.node.get_closest_marker("postgres")
    if marker is None:
        return
    operator, version = marker.args[0].split()
    major = request.getfixturevalue("server").major
    fits = {">=": major >= int(version), "<": major < int(version)}[operator]
    if not fits:
        pytest.skip(f"for PostgreSQL {marker.args[0]}, this is {major}")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the caller's reaches a test, and nothing a test writes reaches the caller."""
    for name in list(os.environ):
        if name.startswith(OUTSIDE) and not name.startswith("IACALLS_TEST"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def iacalls(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, run in this process without a terminal."""
    return CommandLine(monkeypatch, capfd)


@pytest.fixture
def empty_database(server: TestServer) -> Iterator[str]:
    """The name of an empty database that belongs to the owner role."""
    name = server.create_database()
    yield name
    server.drop_database(name)


@pytest.fixture
def new(server: TestServer) -> Iterator[str]:
    """The name of a database that a test makes."""
    name = unused_name()
    yield name
    server.drop_database(name)


@pytest.fixture(scope="session")
def schema_template(server: TestServer) -> str:
    """A database with the documented schema, owned by the owner role, to copy from."""
    name = server.create_database()
    with server.connect(name, OWNER) as connection:
        apply_settings(connection, read_only=False, limits=REPORTING)
        apply_schema(connection, "Contraseña-1")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}")
    return name


@pytest.fixture
def database(server: TestServer, schema_template: str) -> Iterator[str]:
    """The name of a database with the documented schema and its administrator."""
    name = server.create_database(template=schema_template)
    yield name
    server.drop_database(name)


@pytest.fixture
def connection(server: TestServer, database: str) -> Iterator[psycopg.Connection]:
    """A writing session of the owner on `database`, set up as iacalls sets its sessions up."""
    with server.connect(database, OWNER) as opened:
        apply_settings(opened, read_only=False, limits=REPORTING)
        opened.execute("SET search_path = public, pg_temp")
        yield opened


@pytest.fixture(scope="session")
def filled_template(server: TestServer, schema_template: str) -> str:
    """A database with random rows in every table, to copy from."""
    name = server.create_database(template=schema_template)
    with server.connect(name, OWNER) as opened:
        apply_settings(opened, read_only=False, limits=REPORTING)
        opened.execute("SET search_path = public, pg_temp")
        fill(opened, seed=7, size=40, least=30)
        opened.execute("VACUUM (ANALYZE)")
    return name


@pytest.fixture
def filled_database(server: TestServer, filled_template: str) -> Iterator[str]:
    """The name of a database with random rows in every table."""
    name = server.create_database(template=filled_template)
    yield name
    server.drop_database(name)


@pytest.fixture
def data_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of its own that every account may enter; its embedded server is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="iacalls-home-"))
    folder.chmod(0o755)
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    yield folder
    embedded_server().destroy()
    shutil.rmtree(folder)


@pytest.fixture
def use(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make a database the target of the commands that follow; returns its DSN."""

    def choose(name: str, role: str = OWNER) -> str:
        dsn = server.dsn(name, role)
        monkeypatch.setenv("IACALLS_DSN", dsn)
        return dsn

    return choose


@pytest.fixture(scope="session")
def large_database(server: TestServer) -> Iterator[str]:
    """The name of a database whose dump takes long enough to be caught at it; tests only add rows to it."""
    name = server.create_database()
    with server.connect(name, OWNER) as owner:
        owner.execute(LARGE)
    yield name
    server.drop_database(name)


@pytest.fixture
def backup_folder(tmp_path: Path) -> Path:
    """Where `create_backup` puts backups; not yet made."""
    return tmp_path / "copias"


@pytest.fixture
def create_backup(iacalls: CommandLine, backup_folder: Path) -> Callable[..., Outcome]:
    """Run `backup create` with further options."""
    return lambda *options: iacalls("backup", "create", "--directory", str(backup_folder), "-o", "json", *options)


@pytest.fixture
def new_backup(create_backup: Callable[..., Outcome], backup_folder: Path) -> Callable[..., tuple[Path, Manifest]]:
    """Make a backup, which has to succeed; returns its folder and its manifest."""
    numbers = count()

    def make(*options: str) -> tuple[Path, Manifest]:
        # With a name of its own it need not wait for the next second.
        outcome = create_backup("--label", f"n{next(numbers)}", *options)
        assert outcome.code == 0, outcome.err
        made = backup_folder / outcome.json["data"][0]["id"]
        return made, read_manifest(made)

    return make


@pytest.fixture
def small_disk(tmp_path):
    """A disk with two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("disks can be mounted here by root alone, or not at all")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def archive_folder(tmp_path: Path) -> Path:
    """Where `cleanup` puts archives; not yet made."""
    return tmp_path / "archivos"


@pytest.fixture
def old_rows(connection: psycopg.Connection) -> Counter[str]:
    """Rows for a cleanup in `database`, most of them old; every row as it is."""
    add_old_rows(connection)
    return rows_of(connection)


@pytest.fixture
def cleanup(
    iacalls: CommandLine, archive_folder: Path, database: str, use: Callable[..., str]
) -> Callable[..., Outcome]:
    """Run `maintain cleanup` on `database`, with further options."""
    use(database)
    return lambda *options: iacalls("maintain", "cleanup", "--directory", str(archive_folder), "-o", "json", *options)


@pytest.fixture
def undo(iacalls: CommandLine, archive_folder: Path, database: str, use: Callable[..., str]) -> Callable[..., Outcome]:
    """Run `maintain undo` on `database`, with further arguments."""
    use(database)
    return lambda *options: iacalls("maintain", "undo", "--directory", str(archive_folder), "-o", "json", *options)


@pytest.fixture
def configure(tmp_path: Path) -> Callable[[str], None]:
    """Write the user's config file."""

    def write(text: str) -> None:
        path = tmp_path / "config" / "iacalls" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)

    return write


@pytest.fixture
def dead(connection: psycopg.Connection) -> str:
    """A table with 4000 rows, the last 3000 of them deleted just now."""
    connection.execute("ALTER TABLE whatsapp_conversations SET (autovacuum_enabled = off)")
    connection.execute(MANY_ROWS)
    connection.execute("DELETE FROM whatsapp_conversations WHERE id > 1000")
    if connection.info.server_version < 150_000:
        time.sleep(0.6)  # then the next statement hands the counts over
    flush_counts(connection)
    connection.execute("SELECT 1")
    return "whatsapp_conversations"


@pytest.fixture
def hasty(configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits for locks, and hardly a pause between them."""
    configure('[session]\nlock_timeout = "200ms"\n')
    monkeypatch.setattr("iacalls_cli.operations.maintain.locks.PAUSE_SECONDS", 0.01)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path | str, str], None]:
    """Compare text with a generated file, or write that file with --update-golden."""

    def compare(path: Path | str, text: str) -> None:
        file = Path(__file__).parent / "golden" / path if isinstance(path, str) else path
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(text.encode())
        assert file.exists(), f"{file} is missing; `make golden` writes it"
        assert text == file.read_bytes().decode(), f"{file.name} is out of step; `make golden` writes it anew"

    return compare
