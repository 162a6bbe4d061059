"""The console script `iacalls`, and `python -m iacalls_cli`."""

import sys


def main() -> None:
    """Run the command line. The version is told without loading anything for it."""
    if sys.argv[1:] == ["--version"]:
        from iacalls_cli import __version__

        sys.stdout.write(f"iacalls {__version__}\n")
        return
    from iacalls_cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
