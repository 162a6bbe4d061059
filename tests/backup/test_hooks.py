"""Hooks: what is told of a job, to whom, and that no hook can spoil a job."""

import http.server
import json
import threading
import time
from pathlib import Path

import psutil
import pytest

from iacalls_cli import diagnostics
from iacalls_cli.commands import hooks
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.config.definition import BackupSettings
from iacalls_cli.operations.hooks import JobReport, run_hook
from tests.support.servers import OWNER, PASSWORD, free_port

REPORT = JobReport("backup create", "shop on db", "failure", "/srv/x", 7.6, "no room")
NAMES = ("JOB", "TARGET", "OUTCOME", "FILE", "SECONDS", "ERROR")
# Writes its arguments and the whole environment into the file it is named, one JSON a line.
TELL = """#!/usr/bin/env python3
import json, os, sys
with open(sys.argv[1], "a") as file:
    file.write(json.dumps({"arguments": sys.argv[2:], "environment": dict(os.environ)}) + "\\n")
print("a hook speaks")
"""


@pytest.fixture
def tell(tmp_path):
    """A hook's program, and the file it writes to."""
    program, file = tmp_path / "tell", tmp_path / "told"
    program.write_text(TELL)
    program.chmod(0o755)
    return program, file


def told(file):
    """What the hooks were told, in order."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def outcomes(file):
    return [one["environment"]["IACALLS_OUTCOME"] for one in told(file)]


@pytest.fixture
def config(tmp_path):
    """Write the personal config file's [backup]."""

    def write(**values):
        file = tmp_path / "config" / "iacalls" / "config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
        file.write_text(f'[backup]\ndirectory = "{tmp_path / "backups"}"\n{lines}\n')

    return write


@pytest.fixture
def web():
    """A web server that notes what is asked of it; `/404` is not found, `/rubbish` no HTTP, `/slow` never done."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path == "/rubbish":
                self.wfile.write(b"what?\r\n\r\n")
            elif self.path == "/slow":
                self.drip()
            else:
                self.send_response(404 if "/404" in self.path else 200)
                self.end_headers()

        def drip(self):
            try:
                for _ in range(100):
                    self.wfile.write(b"H")
                    time.sleep(0.1)
            except OSError:
                pass

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_job_tells_its_start_and_success_and_stdout_stays_data(database, use, iacalls, config, tell):
    program, file = tell
    config(
        on_start=[str(program), str(file), "a b", "$HOME; rm -rf *", "`id`"],
        on_success=f"{program} {file} 'c d' $HOME | tee",
        on_failure=f"{program} {file}",
    )
    use(database)
    outcome = iacalls("backup", "create", "--schema-only", "-o", "json")
    assert outcome.code == 0, outcome.err
    [made] = outcome.json["data"]
    start, success = told(file)
    assert start["arguments"] == ["a b", "$HOME; rm -rf *", "`id`"]
    assert success["arguments"] == ["c d", "$HOME", "|", "tee"]
    first = [start["environment"][f"IACALLS_{name}"] for name in NAMES]
    assert (first[0], *first[2:]) == ("backup create", "start", "", "0", "")
    job, target, outcome_word, folder, seconds, error = (success["environment"][f"IACALLS_{name}"] for name in NAMES)
    assert (job, outcome_word, error) == ("backup create", "success", "")
    assert database in target
    assert OWNER in target
    assert Path(folder).name == made["id"]
    assert 0 <= int(seconds) < 60
    assert outcome.err.count("a hook speaks") == 2


def test_no_password_reaches_a_hook(database, use, iacalls, config, tell, monkeypatch):
    program, file = tell
    config(
        on_start=[str(program), str(file)], on_success=[str(program), str(file)], on_failure=[str(program), str(file)]
    )
    assert f"password={PASSWORD}" in use(database)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    assert iacalls("backup", "create", "--schema-only").code == 0
    monkeypatch.setenv("DATABASE_URL", f"postgresql://ana:{PASSWORD}@127.0.0.1/x")
    assert iacalls("backup", "create", "--dsn", f"postgresql://ana:{PASSWORD}@127.0.0.1:{free_port()}/x").code == 3
    assert iacalls("backup", "create", "--dsn", f"host=127.0.0.1 bogus=1 password={PASSWORD}").code == 2
    assert outcomes(file) == ["start", "success", "start", "failure", "start", "failure"]
    assert PASSWORD not in json.dumps(told(file), ensure_ascii=False)


def test_a_failing_connection_is_told(iacalls, config, tell):
    program, file = tell
    config(on_success=[str(program), str(file)], on_failure=[str(program), str(file)])
    dsn = f"host=127.0.0.1 port={free_port()} user=nobody dbname=nothing"
    outcome = iacalls("backup", "create", "--dsn", dsn)
    assert outcome.code == 3
    [failure] = told(file)
    assert failure["environment"]["IACALLS_OUTCOME"] == "failure"
    assert failure["environment"]["IACALLS_ERROR"].startswith("cannot connect to nothing on 127.0.0.1")
    assert failure["environment"]["IACALLS_ERROR"] in outcome.error


def test_a_dry_run_tells_nobody(database, use, iacalls, config, tell):
    program, file = tell
    command = [str(program), str(file)]
    config(on_start=command, on_success=command, on_failure=command)
    use(database)
    assert iacalls("backup", "create", "--dry-run").code == 0
    assert not file.exists()


def test_a_rehearsal_tells_too(server, database, use, iacalls, config, tell):
    program, file = tell
    use(database)
    config()
    assert iacalls("backup", "create", "--schema-only").code == 0
    config(on_success=[str(program), str(file)], on_failure=[str(program), str(file)])
    assert iacalls("backup", "rehearse", "--dsn", server.dsn("postgres")).code == 0
    assert iacalls("backup", "rehearse", "nothing").code == 2
    success, failure = (one["environment"] for one in told(file))
    assert (success["IACALLS_JOB"], success["IACALLS_OUTCOME"]) == ("backup rehearse", "success")
    assert failure["IACALLS_OUTCOME"] == "failure"
    assert failure["IACALLS_ERROR"].startswith("there is no backup nothing in ")


def test_urls_are_asked_for_with_the_job_in_them(database, use, iacalls, config, web):
    address, asked = web
    config(on_start=f"{address}/start?job={{job}}", on_success=[f"{address}/{{job}}/0"], on_failure=f"{address}/fail")
    use(database)
    assert iacalls("backup", "create", "--schema-only").code == 0
    assert asked == ["/start?job=backup-create", "/backup-create/0"]
    assert iacalls("backup", "create", "--format", "custom", "--dsn", f"host=127.0.0.1 port={free_port()}").code == 3
    assert asked[2:] == ["/start?job=backup-create", "/fail"]


@pytest.mark.parametrize("failing", ["exit", "missing", "folder", "404", "nobody", "rubbish", "control"])
def test_a_hook_that_fails_is_a_warning_and_the_exit_code_stays(database, use, iacalls, config, web, tmp_path, failing):
    address, _ = web
    hook, words = {
        "exit": (["sh", "-c", "exit 7"], "the hook sh failed with exit code 7"),
        "missing": (["/no/such/program"], "the hook /no/such/program failed: No such file or directory"),
        "folder": ([str(tmp_path)], f"the hook {tmp_path} failed: Permission denied"),
        "404": (f"{address}/404?key=hidden", f"the hook {address} failed: Not Found"),
        "nobody": (f"http://127.0.0.1:{free_port()}/", "Connection refused"),
        "rubbish": (f"{address}/rubbish", f"the hook {address} failed: no HTTP answer"),
        "control": ([f"{address}/a b\n"], f"the hook {address} failed: the URL is not valid"),
    }[failing]
    config(on_start=hook, on_success=hook, on_failure=hook)
    use(database)
    outcome = iacalls("backup", "create", "--schema-only", "-q")
    assert outcome.code == 0
    warnings = [line for line in outcome.err.splitlines() if line.startswith("iacalls: warning: ")]
    assert len(warnings) == 2
    assert all(words in line for line in warnings)
    assert "hidden" not in outcome.err
    assert iacalls("backup", "create", "--dsn", f"host=127.0.0.1 port={free_port()}").code == 3


def test_a_hanging_hook_is_ended_with_its_children(iacalls, config, database, use, tmp_path):
    pids = tmp_path / "pids"
    config(on_start=["sh", "-c", f"sleep 61 & echo $! $$ >{pids}; trap '' TERM; sleep 62"], hook_timeout="1s")
    use(database)
    began = time.monotonic()
    outcome = iacalls("backup", "create", "--schema-only")
    assert outcome.code == 0
    assert 1 <= time.monotonic() - began < 20
    assert "iacalls: warning: the hook sh did not end within 1 s and was ended" in outcome.err
    deadline = time.monotonic() + 5
    while (
        alive := [pid for pid in map(int, pids.read_text().split()) if is_alive(pid)]
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive == []


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_an_answer_that_does_not_end_is_cut_off(web):
    address, _ = web
    began = time.monotonic()
    assert run_hook([f"{address}/slow"], REPORT, 1) == f"the hook {address} did not end within 1 s and was ended"
    assert time.monotonic() - began < 3


def test_a_long_error_is_told_shortened(tell):
    program, file = tell
    report = JobReport("backup create", "", "failure", error="x" * 1_000_000)
    assert run_hook([str(program), str(file)], report, 30) == ""
    assert 1000 < len(told(file)[0]["environment"]["IACALLS_ERROR"]) < 10_000


def test_a_hook_reads_nothing_of_our_stdin_and_seconds_are_whole(tell, tmp_path):
    program, file = tell
    assert run_hook(["sh", "-c", f"cat >{tmp_path}/stdin"], REPORT, 30) == ""
    assert (tmp_path / "stdin").read_text() == ""
    run_hook([str(program), str(file)], REPORT, 30)
    assert told(file)[0]["environment"]["IACALLS_SECONDS"] == "8"


@pytest.mark.parametrize("key", ["on_start", "on_success", "on_failure"])
def test_a_file_in_the_current_folder_may_name_no_hook(iacalls, tmp_path, key):
    (tmp_path / "iacalls.toml").write_text(f'[backup]\n{key} = "touch {tmp_path}/done"\n')
    outcome = iacalls("backup", "list")
    assert outcome.code == 2
    assert f"'backup.{key}' would run a command from a file in the current folder" in outcome.error
    assert iacalls("backup", "create").code == 2
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("error", [diagnostics.Declined("not confirmed"), KeyboardInterrupt(), OSError("no space")])
def test_a_no_to_a_question_is_no_failure_of_the_job(tell, error):
    words = tuple(map(str, tell))
    settings = BackupSettings(on_start=words, on_success=words, on_failure=words)
    with pytest.raises(type(error)), hooks.with_hooks(Invocation("backup create"), settings, is_dry=False):
        raise error
    assert outcomes(tell[1]) == ["start", "success" if isinstance(error, diagnostics.Declined) else "failure"]
