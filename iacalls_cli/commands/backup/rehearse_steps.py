"""The steps of `iacalls backup rehearse`."""

from pathlib import Path

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.create_steps import told
from iacalls_cli.commands.backup.restore_steps import choose_jobs, tell_notes
from iacalls_cli.commands.backup.sessions import open_server
from iacalls_cli.commands.backup.store import open_store, settings
from iacalls_cli.commands.run import Run
from iacalls_cli.config.target import EMBEDDED, from_dsn
from iacalls_cli.errors import ProblemsFound, UsageError
from iacalls_cli.operations.backup.material import check_material, find_material, unpacked
from iacalls_cli.operations.backup.rehearse import rehearse
from iacalls_cli.operations.backup.restore import RestorePlan
from iacalls_cli.table import Column, Table


def rehearse_backup(run: Run, directory: Path | None, name: str, jobs: int | None) -> None:
    """Prove a backup on a scratch server: the embedded one unless --dsn or --profile names another."""
    store = open_store(directory)
    with told(run, settings(), is_dry=False) as report:
        material = find_material(store, name)
        if material.backup is None or material.manifest is None:
            raise UsageError(f"{name} is not a backup of iacalls", "`iacalls backup list` shows those")
        if material.manifest.contents == "data":
            raise UsageError(f"{material.name} holds rows without their tables", "rehearse a full backup")
        check_material(material)
        has_target = run.dsn is not None or run.profile is not None
        target = run.target() if has_target else from_dsn(EMBEDDED, "default for rehearsals")
        with open_server(run, material, target) as (session, server):
            report.target, report.file = str(session.place), str(material.backup.folder)
            contents = "schema" if material.manifest.contents == "schema" else "full"
            with diagnostics.progress() as progress, unpacked(material, store) as archive:
                plan = RestorePlan(material, archive, contents, choose_jobs(jobs))
                where = f"PostgreSQL {session.connection.info.parameter_status('server_version')}"
                backup, outcomes, restored = rehearse(server, material.backup, plan, where, progress)
        tell_notes(restored.notes)
        rows = [(check, "problem" if finding else "ok", finding or None) for check, finding in outcomes]
        run.write(Table((Column("check"), Column("state"), Column("finding", "prose")), rows))
        if backup.state != "proven":
            raise ProblemsFound(f"{backup.id} did not come back as it was", "make a new one; do not rely on this one")
        diagnostics.note(f"{backup.id} is proven on {where}")
