# `make demo` and `make test` work on a fresh machine with Python 3.11 or newer: no database
# server, no Docker, no root.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
SOURCES := iacalls_cli tests benchmarks

.PHONY: demo test check format golden bench slow clean

demo: $(VENV)/.installed ## Embedded server, schema, sample data, the documented reports
	@$(BIN)/iacalls demo

test: $(VENV)/.installed-dev ## The test-suite, on the embedded server unless IACALLS_TEST_SERVER says otherwise
	@$(BIN)/pytest -n auto --dist loadscope -m 'not slow' $(ARGS)

slow: $(VENV)/.installed-dev ## The soak and fuzz tests
	@$(BIN)/pytest -m slow $(ARGS)

check: $(VENV)/.installed-dev ## Format, lint, types, import contracts
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

golden: $(VENV)/.installed-dev ## Write anew what is generated: expected outputs, docs/cli.md, sql/catalogue.json
	@$(BIN)/pytest -q -m golden --update-golden $(ARGS)

bench: $(VENV)/.installed-dev ## The benchmarks; see docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# The environment is marked as installed only at the end, so that an interrupted run starts over.
$(VENV)/.installed: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" ./install.sh .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" ./install.sh '.[dev]'
	@touch $(VENV)/.installed $@
