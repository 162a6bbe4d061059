#!/bin/sh
# Make the virtual environment and install iacalls into it, editable: `install.sh '.[dev]'`.
# Called by the Makefile; says in one line what is missing on this machine.
set -eu

if [ -z "${PYTHON:-}" ]; then
    echo "iacalls: error: Python 3.11 or newer is needed and was not found." \
         "Hint: install it (Debian and Ubuntu: apt install python3), or: make PYTHON=/path/to/python" >&2
    exit 1
fi

if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "iacalls: error: Python $version cannot make virtual environments here (ensurepip is missing)." \
         "Hint: install the package python$version-venv (Debian and Ubuntu: apt install python$version-venv)" >&2
    exit 1
fi

if ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV"
fi

echo "iacalls: installing into $VENV" >&2
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$1"
