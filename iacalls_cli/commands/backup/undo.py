"""`iacalls backup undo`: the database that the last `restore --replace` replaced, back in its place."""

from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.replace import compare_live, confirm_replacement, show_loss, warn_of_replication
from iacalls_cli.commands.backup.sessions import open_server, second_session
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.backup.replace import (
    BEFORE,
    UNDONE,
    dated_name,
    kept_databases,
    require_swappable,
    swap,
)
from iacalls_cli.table import Column, Table

if TYPE_CHECKING:
    pass


def undo_replace(run: Invocation) -> None:
    """Put the database that was replaced last in its place again."""
    with open_server(run, None, renames=True) as (session, server), second_session(run) as ender:
        live = session.place.database
        kept = kept_databases(session.connection, live)
        if not kept:
            raise IacallsError(
                f"there is nothing to undo: there is no database {live}{BEFORE}…",
                "it is what `iacalls backup restore --replace` keeps",
            )
        require_swappable(session.connection, live)
        require_swappable(session.connection, kept[0])
        warn_of_replication(server, live)
        away = dated_name(session.connection, live, UNDONE)
        diagnostics.note(f"plan: put {kept[0]} in the place of {live}, and keep that as {away}")
        losses = compare_live(server, live, kept[0])
        show_loss(losses, live)
        if run.dry_run:
            return
        confirm_replacement(run, session, live)
        swap(session.connection, ender, live, kept[0], away)
        diagnostics.note(f"{live} is what it was; what it had become is kept as {away}")
    columns = Column("database"), Column("state"), Column("kept_as")
    run.write(Table(columns, [(live, "brought back", away)]))
