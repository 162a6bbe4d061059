"""The console script `iacalls`, and `python -m iacalls_cli`."""

import gc
import os
import sys

# Importing makes hundreds of thousands of objects that stay; looking through them every 700
# for garbage takes a tenth of a short command's time.
GARBAGE_THRESHOLD = 20_000


def main() -> None:
    """Run the command line. The version is told without loading anything for it."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    if sys.argv[1:] == ["--version"]:
        from iacalls_cli import __version__

        sys.stdout.write(f"iacalls {__version__}\n")
        return
    from iacalls_cli.app import run

    leave(run(sys.argv[1:]))


def leave(code: int) -> None:
    """End the process at once: taking the interpreter apart takes longer than many a report.

    Sessions and files are closed where they were opened; only the streams are left.
    """
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
