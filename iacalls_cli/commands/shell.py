"""`iacalls db shell`: this process becomes psql on the target."""

import os

from psycopg.conninfo import make_conninfo

from iacalls_cli.commands.run import Run
from iacalls_cli.database.parameters import connection_parameters, foreign_variables, resolve
from iacalls_cli.database.programs import ENCRYPTED
from iacalls_cli.embedded.bundle import find_program
from iacalls_cli.errors import UsageError

NO_TLS = UsageError(
    "this connection is to be encrypted, and the bundled psql knows no TLS", "install PostgreSQL's client programs"
)


def open_psql(run: Run) -> None:
    """Replace this process by psql; its exit code is then the command's.

    The connection is tried first, so that it fails as every command's does. Raises
    `UsageError` where it is encrypted and only the bundled psql, which knows no TLS, is there.
    """
    target = run.target()
    parameters = connection_parameters(target)
    psql = find_program("psql")
    if parameters.pop("sslpassword", None):
        raise UsageError("psql would show the sslpassword to other users (ps)", "use a key without one, in a file")
    if psql.is_bundled and resolve(parameters).get("sslmode") in ENCRYPTED:
        raise NO_TLS
    with run.session(target=target) as session:
        password = session.connection.info.password
        if psql.is_bundled and session.connection.pgconn.ssl_in_use:
            # Where TLS is only preferred, the bundled psql would go on unencrypted.
            raise NO_TLS
    parameters.pop("password", None)
    hidden = foreign_variables(target, parameters)
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    if password:
        environment["PGPASSWORD"] = password
    arguments = [str(psql.path), make_conninfo(**parameters, application_name="iacalls/db shell")]
    os.execve(psql.path, arguments, environment)  # noqa: S606, no shell is wanted
