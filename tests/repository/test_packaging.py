"""The built wheel: everything in it, and it runs in an environment that holds nothing else."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pip(python, *arguments):
    command = [python, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    # pip needs the home folder's settings, which the other tests hide.
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HOME": real_home()})
    assert done.returncode == 0, done.stderr


def real_home():
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_dir


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    [built] = folder.glob("iacalls-*.whl")
    return built


def test_the_wheel_holds_every_sql_file_and_nothing_foreign(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sql").rglob("*") if path.is_file()}
    assert {f"iacalls_cli/{name}" for name in tracked} <= names
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "iacalls_cli").rglob("*.py")}
    assert modules <= names
    assert all(name.startswith(("iacalls_cli/", "iacalls-")) for name in names)


def test_the_installed_wheel_runs_the_demo(wheel):
    home = Path(tempfile.mkdtemp(prefix="iacalls-wheel-"))
    home.chmod(0o755)
    try:
        subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
        pip(str(home / "venv" / "bin" / "python"), "install", "-c", str(ROOT / "constraints.txt"), str(wheel))
        program = home / "venv" / "bin" / "iacalls"
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "LC_ALL": "C"}
        try:
            done = subprocess.run(
                [program, "demo", "--scale", "0.05"], capture_output=True, text=True, env=environment, cwd=home
            )
            assert done.returncode == 0, done.stderr
            assert "venv/bin/iacalls report groups --dsn embedded" in done.stdout
            assert "iacalls report top-clients: " in done.stdout
        finally:
            subprocess.run([program, "server", "destroy", "--yes"], env=environment, check=True, capture_output=True)
    finally:
        shutil.rmtree(home)


def test_constraints_pin_every_dependency_without_addresses():
    text = (ROOT / "constraints.txt").read_text()
    pins = {re.split("==", line)[0].lower().replace("_", "-") for line in text.splitlines() if line and line[0] != "#"}
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert {re.split(r"[\[<>=]", name)[0].lower() for name in wanted} <= pins
    assert "://" not in text
    assert "file:" not in text


def test_every_runtime_dependency_has_a_lower_bound():
    assert all(">=" in dependency for dependency in PROJECT["dependencies"])


def run_install(python):
    environment = {**os.environ, "PYTHON": str(python), "VENV": "environment"}
    return subprocess.run(["sh", ROOT / "install.sh", "."], capture_output=True, text=True, env=environment)


def test_installing_says_which_package_is_missing(tmp_path):
    """Debian's python3 comes without ensurepip, and `python -m venv` fails half-way."""
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = run_install(python)
    assert done.returncode == 1
    assert f"apt install python{sys.version_info.major}.{sys.version_info.minor}-venv" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "environment").exists()


def test_installing_says_that_python_is_missing():
    done = run_install("")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
