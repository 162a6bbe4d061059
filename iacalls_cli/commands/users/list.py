"""`iacalls users list`."""

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.database.rows import stream
from iacalls_cli.queries import load_query
from iacalls_cli.text import count_of


def list_users(run: Invocation, role: str | None, *, inactive: bool) -> None:
    """List users; say how many inactive ones are not shown."""
    with run.session() as session:
        values = {"role": role, "inactive": inactive}
        if not inactive:
            [[hidden]] = stream(session.connection, load_query("users/count-inactive"), values).rows
            if hidden != "0":
                diagnostics.note(f"{count_of(int(str(hidden)), 'inactive user')} not shown; --inactive shows them too")
        run.write(stream(session.connection, load_query("users/list"), values))
