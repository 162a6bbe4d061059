"""Counting rows runs no code of a table's owner: the planner evaluates functions of indexes and CHECK constraints."""

import pytest

from tests.support.servers import OWNER

# What an owner without any privilege plants; the witness is a program that runs as the server's account.
SPY = """
    CREATE FUNCTION public.run() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE 'COPY (SELECT current_user) TO PROGRAM ''cat > {witness}''';
        RETURN true;
    EXCEPTION WHEN insufficient_privilege THEN RETURN true;
    END$$;
    CREATE FUNCTION public.spy(a int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
        RETURN public.run();
    END$$;
    CREATE TABLE public.t (id int); INSERT INTO public.t VALUES (11), (12);
"""
PLACES = [
    "CREATE INDEX i ON public.t (id) WHERE public.spy(1)",
    "CREATE INDEX i ON public.t ((public.spy(2)))",
    "ALTER TABLE public.t ADD CONSTRAINT c CHECK (public.spy(3))",
    "CREATE FUNCTION public.op(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT public.spy($1)';"
    "CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = public.op);"
    "CREATE INDEX i ON public.t (id) WHERE 1 OPERATOR(public.===) 2",
    "CREATE FUNCTION public.num(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT public.spy($1)::int';"
    "CREATE STATISTICS public.s ON (id + public.num(1)), id FROM public.t",
    "CREATE FUNCTION public.num(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN public.spy($1)::int; END';"
    "CREATE TABLE public.p (a int) PARTITION BY RANGE ((a + public.num(1)));"
    "CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (100)",
]


@pytest.fixture
def witness(server):
    """Where a program would write, as the account that runs the server."""
    with server.connect("postgres") as connection:
        folder = connection.execute("SHOW data_directory").fetchone()[0]

        def read():
            try:
                return connection.execute("SELECT pg_read_file('witness')").fetchone()
            except Exception:
                return None

        connection.execute("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; rm -f witness'")
        yield f"{folder}/witness", read
        connection.execute("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; rm -f witness'")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "command", [["db", "tables"], ["db", "verify"], ["backup", "create"], ["db", "describe", "t"], ["monitor", "sizes"]]
)
def test_a_counting_superuser_runs_nothing_of_the_tables_owner(
    server, empty_database, iacalls, use, witness, place, command
):
    path, read = witness
    with server.connect(empty_database, OWNER) as connection:
        connection.execute(SPY.format(witness=path))
        connection.execute(place)
        connection.execute(f"ALTER DATABASE {empty_database} SET constraint_exclusion = on")
    assert read() is None
    use(empty_database, "")
    outcome = iacalls(*command)
    assert outcome.code in (0, 4), outcome.err
    assert read() is None
    if command == ["db", "tables"]:
        assert "exact" in outcome.out


def test_the_owner_of_users_gets_no_program_run_by_verify(server, database, iacalls, use, witness):
    path, read = witness
    with server.connect(database, OWNER) as connection:
        connection.execute(SPY.replace("public.t", "public.more").format(witness=path))
        connection.execute("CREATE INDEX i ON public.users (id) WHERE public.spy(1)")
    use(database, "")
    outcome = iacalls("db", "verify")
    assert read() is None
    assert "passwords were not checked" in outcome.out


def test_a_replacement_compares_without_running_the_owners_code(
    server, empty_database, iacalls, use, witness, tmp_path
):
    path, read = witness
    with server.connect(empty_database, OWNER) as connection:
        connection.execute("CREATE TABLE public.t (id int PRIMARY KEY); INSERT INTO public.t VALUES (1)")
    use(empty_database, "")
    assert iacalls("backup", "create", "--directory", str(tmp_path / "b")).code == 0
    with server.connect(empty_database, OWNER) as connection:
        connection.execute(SPY.replace("CREATE TABLE public.t (id int);", "").format(witness=path))
        connection.execute("CREATE INDEX i ON public.t (id) WHERE public.spy(1)")
    outcome = iacalls(
        "backup",
        "restore",
        empty_database,
        "--replace",
        "--confirm",
        empty_database,
        "--directory",
        str(tmp_path / "b"),
    )
    assert outcome.code == 0, outcome.err
    assert "cannot detect newer rows" in outcome.err
    assert read() is None


def test_a_superusers_report_and_cleanup_say_what_runs(server, database, iacalls, use, witness, tmp_path):
    path, _ = witness
    with server.connect(database, OWNER) as connection:
        connection.execute(
            SPY.replace("public.t ", "public.more ")
            .replace("public.t VALUES", "public.more VALUES")
            .format(witness=path)
        )
        connection.execute("CREATE INDEX i ON public.whatsapp_conversations (id) WHERE public.spy(1)")
        connection.execute("CREATE FUNCTION public.num(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'")
        connection.execute("CREATE STATISTICS public.st ON (id + public.num(1)), id FROM public.whatsapp_conversations")
        connection.execute(
            "INSERT INTO public.whatsapp_conversations (phone_number, created_at) VALUES ('+57', '2020-01-01')"
        )
    use(database, "")
    report = iacalls("report", "whatsapp")
    assert "use a role without superuser rights" in report.err
    plan = iacalls("maintain", "cleanup", "--only", "whatsapp", "--dry-run")
    assert "the index i on whatsapp_conversations runs the function" in plan.err
    assert "the statistics object st on whatsapp_conversations runs the function" in plan.err
    use(database)
    assert "superuser" not in iacalls("report", "whatsapp").err
