"""What the tests share: servers, sample rows, the command line, and where the files of the tests are."""

from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
