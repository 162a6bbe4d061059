"""The console script `iacalls`, and `python -m iacalls_cli`."""

import os
import sys

# Importing makes hundreds of thousands of objects that stay; looking through them every 700
# for garbage takes a tenth of a short command's time.
GARBAGE_THRESHOLD = 20_000
INTERRUPTED = 130


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    try:
        # Not on top: what Ctrl-C interrupts there is told by the interpreter, as a traceback.
        import gc
        import signal

        gc.set_threshold(GARBAGE_THRESHOLD)
        signal.signal(signal.SIGTERM, interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(signal.SIGHUP, interrupt)
        leave(run_command_line())
    except KeyboardInterrupt:  # while modules are still loaded
        leave(INTERRUPTED)


def run_command_line() -> int:
    """Run the command line. The version is told without loading anything for it."""
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        from iacalls_cli import __version__

        try:
            sys.stdout.write(f"iacalls {__version__}\n")
            sys.stdout.flush()
        except OSError as error:
            os.write(2, f"iacalls: error: cannot write the version: {error.strerror}\n".encode())
            return 1
        return 0
    from iacalls_cli.app import run

    return run(sys.argv[1:])


def interrupt(signum: int, frame: object) -> None:
    """End on SIGTERM and SIGHUP as on Ctrl-C: the running query is cancelled, what is open is rolled back.

    A closed terminal is often reported twice, by the kernel and the shell, and systemd sends SIGHUP
    after SIGTERM: the second one must not interrupt the cleaning up.
    """
    import signal

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt


def leave(code: int) -> None:
    """End the process at once: taking the interpreter apart takes longer than many a report.

    Sessions and files are closed where they were opened; only the streams are left.
    """
    try:  # noqa: SIM105, contextlib is not loaded for `--version`
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
    os._exit(code)


if __name__ == "__main__":
    main()
