"""README's examples are run, and its outputs are real ones."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from iacalls_cli.embedded.server import embedded_server
from tests.support import ROOT
from tests.support.cli_reference import walk
from tests.support.command_line import run_process, run_terminal

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROOT_OPTIONS = ("iacalls --install-completion", "iacalls --install", "iacalls --help", "iacalls --version")
SPINNER = tuple("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
COMMAND = re.compile(r"^\$ iacalls (.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def demo_home():
    """An embedded server with the demo's data, the same on every day."""
    folder = Path(tempfile.mkdtemp(prefix="iacalls-readme-"))
    folder.chmod(0o755)
    environment = {"XDG_DATA_HOME": str(folder), "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    done = run_process("demo", "--quiet", "--until", "2025-11-30", env=environment, cwd=folder)
    assert done.code == 0, done.err
    yield folder
    run_process("server", "destroy", "--yes", env=environment)
    shutil.rmtree(folder)


def shown(arguments):
    """A command as it looks at a terminal of 80 columns, without colours."""
    words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", arguments)]
    _, screen = run_terminal(*words, env={"NO_COLOR": "1"})
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).replace("\r", "")
    # On a busy machine a command takes so long that it shows what it is at; that line is erased at the end.
    lines = [line for line in plain.splitlines() if not line.startswith(SPINNER)]
    return f"$ iacalls {arguments}\n" + "".join(f"{line.rstrip()}\n" for line in lines)


@pytest.mark.golden
def test_outputs_in_the_readme_are_real(demo_home, golden, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(demo_home))
    assert embedded_server().is_running()

    def renew(block):
        return "```console\n" + "\n".join(shown(arguments) for arguments in COMMAND.findall(block[1])) + "```"

    golden(ROOT / "README.md", BLOCK.sub(renew, (ROOT / "README.md").read_text()))


def test_every_command_in_the_pages_exists(monkeypatch):
    known = {path for path, _, _ in walk()}
    for page in PAGES:
        for words in re.findall(r"`iacalls ((?:[a-z-]+ ?){1,2})", page.read_text()):
            path = f"iacalls {words.strip()}"
            group = path.rsplit(" ", 1)[0]
            assert path in known or group in known - {"iacalls"} or path in ROOT_OPTIONS, f"{page.name}: {path}"


def test_links_lead_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_make_targets_of_the_pages_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"(?:^|`|\n)make ([a-z]+)", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"


def test_the_repository_speaks_of_the_product_alone():
    """No path of a machine, no address of a registry, in any file that is kept."""
    forbidden = re.compile(
        "|".join(["/ro" + "ot/", "/wo" + "rk/", "pypi" + r"\.", "index-" + "url", sys.prefix + "/lib"])
    )
    for path in ROOT.rglob("*"):
        parts = set(path.relative_to(ROOT).parts)
        if (
            path.is_dir()
            or parts & {".git", ".venv", ".hypothesis", "node_modules", "build", "dist"}
            or "cache" in str(parts)
        ):
            continue
        if path.suffix in (".py", ".md", ".sql", ".toml", ".txt", ".json", ".sh", "") and ".egg-info" not in str(path):
            assert not forbidden.search(path.read_text("utf-8", "replace")), path
