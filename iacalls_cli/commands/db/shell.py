"""`iacalls db shell`: this process becomes psql on the target."""

import os
from collections.abc import Mapping

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.database.newer_options import explain_needs, newer_options, without_newer
from iacalls_cli.database.parameters import (
    conninfo,
    foreign_variables,
    is_encrypted_only,
    libpq_parameters,
    resolve,
)
from iacalls_cli.database.programs import installed_programs, pin_server, secret_keywords, version_of
from iacalls_cli.embedded.bundle import Program, bundled, find_program
from iacalls_cli.errors import IacallsError, UsageError

# Of a psql that does not tell its version: it is given all options.
UNKNOWN_MAJOR = 99
NO_TLS = UsageError(
    "this connection is to be encrypted, and the bundled psql knows no TLS", "install PostgreSQL's client programs"
)


def open_psql(run: Invocation) -> None:
    """Replace this process by psql; its exit code is then the command's.

    The connection is tried first, so that it fails as every command's does. Raises
    `UsageError` where it is encrypted and only the bundled psql, which knows no TLS, is there.
    """
    target = run.target()
    parameters = libpq_parameters(target)
    psql = find_program("psql")
    for name in secret_keywords():
        if parameters.get(name):
            raise UsageError(f"psql would show the {name} to other users (ps)", "use a key without one, in a file")
    resolved = resolve(parameters)
    if psql.is_bundled and is_encrypted_only(resolved):
        raise NO_TLS
    psql, major = choose_psql(psql, newer_options(resolved), is_encrypted=is_encrypted_only(resolved))
    with run.session(target=target) as session:
        password = session.connection.info.password
        if session.connection.pgconn.ssl_in_use:
            if psql.is_bundled:
                # Where TLS is only preferred, the bundled psql would go on unencrypted.
                raise NO_TLS
            if not is_encrypted_only(resolved):
                parameters["sslmode"] = "require"
        pin_server(parameters, resolved, session.connection)
    parameters.pop("password", None)
    parameters = without_newer(parameters, major)
    hidden = foreign_variables(target, parameters)
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    if password:
        environment["PGPASSWORD"] = password
    arguments = [str(psql.path), conninfo({**parameters, "application_name": "iacalls/db shell"})]
    os.execve(psql.path, arguments, environment)  # noqa: S606, no shell is wanted


def choose_psql(psql: Program, needs: Mapping[str, int], *, is_encrypted: bool) -> tuple[Program, int]:
    """Return the psql of PATH, or another installed one that knows the options in `needs`; and its major version.

    Raises `IacallsError` saying what there is where none does.
    """
    version = bundled().version if psql.is_bundled else version_of(psql.path)
    major = int(version.partition(".")[0] or 0) if version[:1].isdigit() else 0
    wanted = max(needs.values(), default=0)
    if not version or major >= wanted:
        return psql, major or UNKNOWN_MAJOR
    installed = installed_programs()
    for programs in sorted(installed, key=lambda one: (one.is_bundled, one.major)):
        path = programs.folder / "psql"
        if programs.major >= wanted and path.exists() and not (is_encrypted and programs.is_bundled):
            return Program(path, programs.is_bundled), programs.major
    raise IacallsError(*explain_needs(needs, ", ".join(map(str, installed)) or "none"))
