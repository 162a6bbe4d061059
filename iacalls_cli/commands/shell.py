"""`iacalls db shell`: this process becomes psql on the target."""

import os

from psycopg.conninfo import make_conninfo

from iacalls_cli.commands.run import Run
from iacalls_cli.database.connection import connection_parameters
from iacalls_cli.embedded.bundle import find_program, is_bundled
from iacalls_cli.errors import UsageError

ENCRYPTED = ("require", "verify-ca", "verify-full")


def open_psql(run: Run) -> None:
    """Replace this process by psql; its exit code is then the command's.

    The connection is tried first, so that it fails as every command's does. Raises
    `UsageError` where TLS is asked for and only the bundled psql, which has none, is there.
    """
    target = run.target()
    parameters = connection_parameters(target)
    psql = find_program("psql")
    sslmode = str(parameters.get("sslmode") or os.environ.get("PGSSLMODE", ""))
    if is_bundled(psql) and sslmode in ENCRYPTED:
        raise UsageError(
            f"sslmode={sslmode} needs a psql with TLS, and the bundled one has none",
            "install PostgreSQL's client programs",
        )
    with run.session(target=target) as session:
        password = session.connection.info.password
    parameters.pop("password", None)
    # The embedded server's parameters are complete, and the caller's must not mix in.
    kept = (name for name in os.environ if not (target.is_embedded and name.startswith("PG")))
    environment = {name: os.environ[name] for name in kept}
    if password:
        environment["PGPASSWORD"] = password
    arguments = [str(psql), make_conninfo(**parameters, application_name="iacalls/db shell")]
    os.execve(psql, arguments, environment)  # noqa: S606, no shell is wanted
