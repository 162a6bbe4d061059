"""`iacalls users`: who there is, and passwords as the application reads them."""

import os
import shutil
import subprocess

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iacalls_cli.errors import UsageError
from iacalls_cli.operations.users import DEFAULT_PASSWORD, check_password, compose_password, hash_password, is_password
from tests.support import TESTS
from tests.support.command_line import run_terminal, start_process
from tests.support.servers import OWNER, READER

# Made by bcryptjs 2.4.3, the library of the application: hashSync("Contraseña-1", 12).
FROM_BCRYPTJS = "$2a$12$3PeRFP0U3Sd8fKmw6/vlzewtBNKxMpYCBE8nzSgly.VR/HP/j1ErW"


def stored(connection, username="admin"):
    return connection.execute("SELECT password FROM users WHERE username = %s", [username]).fetchone()[0]


def test_list_never_shows_a_hash(server, filled_database, use, iacalls):
    use(filled_database)
    with server.connect(filled_database, OWNER) as connection:
        hashes = [
            password for (password,) in connection.execute("SELECT password FROM users WHERE password LIKE '$2%'")
        ]
        active = {name for (name,) in connection.execute("SELECT username FROM users WHERE is_active IS NOT false")}
        everyone = {name for (name,) in connection.execute("SELECT username FROM users")}
    for output in ("table", "json", "csv", "html"):
        outcome = iacalls("users", "list", "-o", output)
        assert outcome.code == 0
        assert "password" not in outcome.out
        assert not any(hashed in outcome.out for hashed in hashes)
    assert {row["username"] for row in iacalls("users", "list", "-o", "json").json["data"]} == active
    assert {row["username"] for row in iacalls("users", "list", "--inactive", "-o", "json").json["data"]} == everyone
    admins = iacalls("users", "list", "--role", "admin", "--inactive", "-o", "json").json["data"]
    assert {row["role"] for row in admins} == {"admin"}


def test_set_password(connection, database, use, iacalls):
    use(database)
    before, updated = stored(connection), connection.execute("SELECT updated_at FROM users").fetchone()[0]
    outcome = iacalls("users", "set-password", "admin", "--password-stdin", stdin="Más segura ñ\n")
    assert outcome.code == 0
    after = stored(connection)
    assert after != before
    assert after.startswith("$2b$12$")
    assert bcrypt.checkpw("Más segura ñ".encode(), after.encode())
    assert "Más segura" not in outcome.out + outcome.err
    assert after not in outcome.out + outcome.err
    assert connection.execute("SELECT updated_at FROM users").fetchone()[0] > updated


def test_dry_run_rolls_back(connection, database, use, iacalls):
    use(database)
    before = stored(connection)
    outcome = iacalls("users", "set-password", "admin", "--password-stdin", "--dry-run", stdin="Otra contraseña\n")
    assert outcome.code == 0
    assert "would be" in outcome.err
    assert stored(connection) == before
    assert (
        iacalls("users", "set-password", "nobody", "--password-stdin", "--dry-run", stdin="Otra contraseña\n").code == 1
    )


@pytest.mark.parametrize(
    ("password", "message"),
    [("", "is empty"), (DEFAULT_PASSWORD, "documented default"), ("x" * 73, "73 bytes"), ("ñ" * 37, "74 bytes")],
)
def test_an_unusable_password_is_refused_before_connecting(iacalls, password, message):
    outcome = iacalls("users", "set-password", "admin", "--password-stdin", stdin=password + "\n")
    assert outcome.code == 2
    assert message in outcome.error
    assert not password or password not in outcome.error


def test_72_bytes_are_taken_whole(connection, database, use, iacalls):
    use(database)
    password = "ñ" * 36
    assert iacalls("users", "set-password", "admin", "--password-stdin", stdin=password + "\n").code == 0
    assert not bcrypt.checkpw(("ñ" * 35).encode(), stored(connection).encode())


def test_an_unknown_user_changes_nothing(connection, database, use, iacalls):
    use(database)
    before = stored(connection)
    outcome = iacalls("users", "set-password", "Admin", "--password-stdin", stdin="Otra contraseña\n")
    assert outcome.code == 1
    assert "there is no user Admin, nothing was changed" in outcome.error
    assert stored(connection) == before


def test_exactly_one_row_or_none(server, connection, database, use, iacalls):
    """A database that lost its unique keys can hold a name twice."""
    connection.execute("ALTER TABLE users DROP CONSTRAINT users_username_key")
    connection.execute("INSERT INTO users (username, email, password) VALUES ('admin', 'x', 'y')")
    use(database)
    outcome = iacalls("users", "set-password", "admin", "--password-stdin", stdin="Otra contraseña\n")
    assert outcome.code == 1
    assert "2 users are named admin" in outcome.error
    assert connection.execute("SELECT count(*) FROM users WHERE password LIKE '$2b$12$%%'").fetchone() == (1,)


def test_a_role_that_may_not_write_is_told_so(connection, database, use, iacalls):
    use(database, READER)
    outcome = iacalls("users", "set-password", "admin", "--password-stdin", stdin="Otra contraseña\n")
    assert outcome.code == 1
    assert "permission denied for table users" in outcome.error


def test_asks_twice_without_echo(server, connection, database):
    environment = {"IACALLS_DSN": server.dsn(database, OWNER)}
    prompts = ["New password for admin: ", "The same again: "]
    answers = [(prompts[0], "Secreta-ñ-1\n"), (prompts[1], "Secreta-ñ-2\n")]
    code, screen = run_terminal("users", "set-password", "admin", answers=answers, env=environment)
    assert code == 2
    assert "differ" in screen
    code, screen = run_terminal(
        "users",
        "set-password",
        "admin",
        answers=[answers[0], (prompts[1], "Secreta-ñ-1\n"), ("Go on? [y/N] ", "n\n")],
        env=environment,
    )
    assert code == 0
    assert "not confirmed, nothing was changed" in screen
    assert "error" not in screen
    assert "plan: store a new password for admin" in screen
    assert not is_password("Secreta-ñ-1", stored(connection))
    code, screen = run_terminal(
        "users",
        "set-password",
        "admin",
        answers=[answers[0], (prompts[1], "Secreta-ñ-1\n"), ("Go on? [y/N] ", "y\n")],
        env=environment,
    )
    assert code == 0
    assert "Secreta" not in screen
    assert is_password("Secreta-ñ-1", stored(connection))


def test_a_hash_of_the_applications_own_library_verifies():
    """What bcryptjs wrote, read here; under both prefixes it may carry."""
    for prefix in ("$2a$", "$2b$"):
        assert is_password("Contraseña-1", prefix + FROM_BCRYPTJS[4:])
        assert not is_password("Contraseña-2", prefix + FROM_BCRYPTJS[4:])


@pytest.mark.skipif(
    not (shutil.which("node") and (TESTS / "node_modules" / "bcryptjs").exists()),
    reason="needs node and `npm install --prefix tests bcryptjs`",
)
def test_the_applications_own_library_verifies_our_hash():
    """What iacalls wrote, read by bcryptjs."""
    script = "const b = require('bcryptjs'); console.log(b.compareSync(process.argv[1], process.argv[2]))"
    command = ["node", "-e", script, "Contraseña-1", hash_password("Contraseña-1")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS)
    assert done.stdout == "true\n"


@settings(max_examples=200)
@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_a_password_is_either_refused_or_fits_bcrypt(password):
    try:
        check_password(password)
    except UsageError:
        return
    assert 0 < len(password.encode()) <= 72
    assert "\0" not in password
    assert password != DEFAULT_PASSWORD


@pytest.mark.parametrize("stored_text", ["", "plain", "$2b$12$short", "$2y$04$" + "x" * 53, "ñ"])
def test_what_is_no_hash_matches_nothing(stored_text):
    assert not is_password(DEFAULT_PASSWORD, stored_text)


def test_a_refused_hash_is_not_shown(server, connection, database, use, iacalls):
    """What PostgreSQL tells of a row that breaks a rule is the whole row."""
    connection.execute("UPDATE users SET role = NULL")
    connection.execute("ALTER TABLE users ADD CONSTRAINT roles CHECK (role IS NOT NULL) NOT VALID")
    use(database)
    outcome = iacalls("users", "set-password", "admin", "--password-stdin", stdin="Otra contraseña\n")
    assert outcome.code == 1
    assert "roles" in outcome.error
    assert "$2b$" not in outcome.error
    assert "admin@iacalls.com" not in outcome.error


@pytest.mark.parametrize("command", [("users", "set-password", "admin", "--password-stdin")])
def test_a_password_that_is_not_utf8_is_refused(server, connection, database, command):
    before = stored(connection)
    process = start_process(
        *command, env={**os.environ, "IACALLS_DSN": server.dsn(database, OWNER)}, stdin=subprocess.PIPE
    )
    _, said = process.communicate(b"contrase\xf1a-larga-1\n")
    assert process.returncode == 2
    assert b"not UTF-8" in said
    assert stored(connection) == before


def test_what_cannot_be_checked_is_noted(server, connection, database, use, iacalls):
    connection.execute("ALTER TABLE users ALTER password DROP NOT NULL")
    connection.execute(
        "INSERT INTO users (username, email, password) VALUES ('slow', 's', '$2b$31$' || repeat('a', 53)), ('none', 'n', NULL), "
        "('plain', 'p', 'admin123')"
    )
    connection.execute(
        "INSERT INTO users (username, email, password) SELECT 'u' || n, n, 'x' FROM generate_series(1, 60) n"
    )
    use(database)
    outcome = iacalls("db", "verify", "-o", "json")
    findings = [item["finding"] for item in outcome.json["findings"] if item["object"] == "table users"]
    assert findings == [f"the passwords of {63 - 39} more users were not checked"]


AUDIT = """
    CREATE TABLE audit (what text, hash text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO audit VALUES (tg_op, NEW.password); RETURN NEW; END';
    CREATE TRIGGER note AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note();
"""


def change(iacalls, *options):
    return iacalls("users", "set-password", "admin", "--password-stdin", *options, stdin="Contraseña nueva\n")


def test_a_trigger_finds_its_tables_as_for_the_application(connection, database, use, iacalls):
    connection.execute(AUDIT)
    use(database)
    assert change(iacalls, "--dry-run").code == 0
    assert connection.execute("SELECT count(*) FROM audit").fetchone() == (0,)
    outcome = change(iacalls)
    assert outcome.code == 0, outcome.err
    assert connection.execute("SELECT * FROM audit").fetchall() == [("UPDATE", stored(connection))]


def test_a_trigger_finds_its_tables_in_the_schema_of_the_role(server, connection, database, use, iacalls):
    connection.execute("CREATE SCHEMA app; SET search_path = app, public")
    connection.execute(AUDIT)
    with server.connect(database) as admin:
        admin.execute(f"ALTER ROLE {OWNER} IN DATABASE {database} SET search_path = app, public")
    use(database)
    outcome = change(iacalls)
    assert outcome.code == 0, outcome.err
    assert connection.execute("SELECT count(*) FROM app.audit").fetchone() == (1,)


def test_others_that_need_the_path_when_a_password_is_written(connection, database, use, iacalls):
    connection.execute("CREATE FUNCTION fine(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'")
    connection.execute("CREATE FUNCTION fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)'")
    connection.execute("CREATE FUNCTION key(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'")
    connection.execute("CREATE FUNCTION is_fine(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT fine($1)'")
    connection.execute("ALTER TABLE users ADD CONSTRAINT fine CHECK (is_fine(password))")
    connection.execute("ALTER TABLE users ADD COLUMN folded text GENERATED ALWAYS AS (key(username)) STORED")
    connection.execute("CREATE INDEX ON users (key(password))")
    connection.execute("CREATE OR REPLACE FUNCTION key(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT fold($1)'")
    use(database)
    before = stored(connection)
    outcome = change(iacalls)
    assert outcome.code == 0, outcome.err
    assert stored(connection) != before


@pytest.mark.parametrize("path", ["public, pg_catalog", "public"])
def test_an_operator_in_the_path_of_the_application_is_not_run(server, database, use, iacalls, path):
    """CVE-2018-1058: the path is the application's, so our own statement names its operators' schema."""
    with server.connect(database) as admin:
        for number, (left, right) in enumerate((("varchar", "text"), ("varchar", "varchar"), ("text", "text"))):
            admin.execute(
                f"CREATE FUNCTION public.trap_{number}(a {left}, b {right}) RETURNS boolean LANGUAGE plpgsql AS "
                f"$$BEGIN RAISE EXCEPTION 'trapped'; END$$"
            )
            admin.execute(
                f"CREATE OPERATOR public.= (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.trap_{number})"
            )
        admin.execute(f"ALTER DATABASE {database} SET search_path = {path}")
    use(database, "")
    outcome = change(iacalls)
    assert outcome.code == 0, outcome.err
    assert "trapped" not in outcome.err


def test_a_trigger_that_refuses_leaves_the_old_password(connection, database, use, iacalls):
    connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not today'; END$$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    use(database)
    before = stored(connection)
    outcome = change(iacalls)
    assert outcome.code == 1
    assert "not today" in outcome.error
    assert stored(connection) == before


@pytest.mark.parametrize(
    ("character", "name"),
    [("\u200b", "U+200B ZERO WIDTH SPACE"), ("\u00a0", "U+00A0 NO-BREAK SPACE"), ("\u00ad", "U+00AD SOFT HYPHEN"),
     ("\u202e", "U+202E RIGHT-TO-LEFT OVERRIDE"), ("\ufffd", "U+FFFD REPLACEMENT CHARACTER"), ("\t", "U+0009"),
     ("\x1b", "U+001B"), ("\ufeff", "U+FEFF ZERO WIDTH NO-BREAK SPACE"), ("\u3164", "U+3164 HANGUL FILLER"),
     ("\ufe0f", "U+FE0F VARIATION SELECTOR-16")],
)  # fmt: skip
def test_characters_that_cannot_be_typed_are_named(character, name):
    with pytest.raises(UsageError, match="cannot be seen or typed") as caught:
        compose_password(f"Secret{character}-1234")
    assert f"character 7 of the password cannot be seen or typed: {name}" in caught.value.message
    assert "Secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("sent", "typed"),
    [
        ("\ufeffSecret-1234\r\n", "Secret-1234"),
        ("Contrasen\u0303a-1\n", "Contrase\u00f1a-1"),
        ("\ufeffA\u030angstro\u0308m-12\n", "\u00c5ngstr\u00f6m-12"),
        ("\u1112\u1161\u11ab\uae00-12345\n", "\ud55c\uae00-12345"),
        ("con espacio 1\n", "con espacio 1"),
    ],
)
def test_a_password_is_stored_as_it_is_typed(connection, database, use, iacalls, sent, typed):
    use(database)
    assert iacalls("users", "set-password", "admin", "--password-stdin", stdin=sent).code == 0
    assert is_password(typed, stored(connection))


def test_init_takes_the_same_passwords(server, empty_database, use, iacalls):
    use(empty_database)
    refused = iacalls("db", "init", "--admin-password-stdin", stdin="Secret\u200b-1234\n")
    assert refused.code == 2
    assert "U+200B" in refused.error
    outcome = iacalls("db", "init", "--admin-password-stdin", stdin="\ufeffContrasen\u0303a-1\n")
    assert outcome.code == 0, outcome.err
    with server.connect(empty_database, OWNER) as connection:
        assert is_password("Contrase\u00f1a-1", connection.execute("SELECT password FROM public.users").fetchone()[0])


def test_two_byte_order_marks_are_one_too_many(iacalls):
    outcome = iacalls("users", "set-password", "admin", "--password-stdin", stdin="\ufeff\ufeffSecret-1234\n")
    assert outcome.code == 2
    assert "U+FEFF" in outcome.error


def test_list_says_what_it_hides_and_marks_what_is_expired(connection, database, use, iacalls):
    connection.execute(
        "INSERT INTO users (username, email, password, role, is_active, time) VALUES"
        " ('gone', 'a', 'x', 'user', false, NULL), ('late', 'b', 'x', 'user', true, now() AT TIME ZONE 'UTC' - interval '1 min'),"
        " ('soon', 'c', 'x', 'user', true, now() AT TIME ZONE 'UTC' + interval '1 hour')"
    )
    use(database)
    outcome = iacalls("users", "list", "-o", "json")
    assert "1 inactive user not shown; --inactive shows them too" in outcome.err
    expired = {row["username"]: row["is_expired"] for row in outcome.json["data"]}
    assert expired == {"admin": None, "late": True, "soon": False}
    assert "inactive" not in iacalls("users", "list", "--inactive").err
    assert "inactive" not in iacalls("users", "list", "--role", "admin").err
    assert "is_expired" in iacalls("users", "list").out


@pytest.mark.parametrize(
    ("change", "expires", "is_expired"),
    [
        ("DROP COLUMN time", None, None),
        ("ALTER time TYPE text", "2020-01-02 00:00:00", None),
        ("ALTER time TYPE timestamptz", "2020-01-02 00:00:00+00", True),
        ("ALTER time TYPE date", "2020-01-02", True),
    ],
)
def test_list_works_without_the_column_time_or_of_another_type(
    connection, database, use, iacalls, change, expires, is_expired
):
    connection.execute("UPDATE users SET time = '2020-01-02'")
    connection.execute(f"ALTER TABLE users {change}")
    use(database)
    outcome = iacalls("users", "list", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert [(row["expires"], row["is_expired"]) for row in outcome.json["data"]] == [(expires, is_expired)]
