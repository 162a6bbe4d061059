"""`iacalls backup prune`: the retention policy, and the removal of what is outside of it."""

from contextlib import ExitStack
from datetime import UTC, datetime

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.operations.backup.check import is_future
from iacalls_cli.operations.backup.lock import only_job
from iacalls_cli.operations.backup.prune import Retention, plan_prune
from iacalls_cli.operations.backup.store import Backup, Store
from iacalls_cli.table import Column, Table
from iacalls_cli.text import pretty_size


def prune_store(run: Invocation, store: Store, retention: Retention, after: Backup | None = None) -> None:
    """Show what is to be removed, and remove it.

    The decisions go to stdout, unless this comes `after` a backup: then the answer is that one, and
    only backups of its database are looked at, because another one's may just be at work.
    """
    wanted = {database_of(backup) for backup in ([after] if after else store.backups())}
    with ExitStack() as stack:
        for database in () if run.dry_run else sorted(filter(None, wanted)):
            stack.enter_context(only_job(run.command, *database))
        # Looked at again, now that nobody changes them.
        backups = [backup for backup in store.backups() if after is None or database_of(backup) in wanted]
        decisions = plan_prune(backups, retention, datetime.now(UTC))
        for decision in decisions:
            if decision.backup.manifest and is_future(decision.backup.manifest.taken, datetime.now(UTC)):
                diagnostics.warning(f"{decision.backup.id} is dated in the future; check the clocks")
        removed = [decision.backup for decision in decisions if decision.verdict == "remove"]
        size = sum(backup.manifest.size for backup in removed if backup.manifest)
        diagnostics.note(
            f"plan: remove {len(removed)} of {len(decisions)} backups ({pretty_size(size)}) in {store.directory}"
        )
        if after is None:
            columns = Column("id", "prose"), Column("state"), Column("verdict"), Column("reason", "prose")
            rows = [(d.backup.id, d.backup.state, d.verdict, d.reason) for d in decisions]
            run.write(Table(columns, rows))
        if run.dry_run or not removed:
            return
        run.confirm_action("Remove them?")
        for backup in removed:
            store.remove(backup)
            diagnostics.note(f"{backup.id} is removed")


def database_of(backup: Backup) -> tuple[str, str] | None:
    """What a lock is for: server and database; None for a backup that does not say."""
    return backup.manifest.group[:2] if backup.manifest else None
