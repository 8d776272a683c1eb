# Two commands for everybody: `make demo` and `make test`. Each sets up its own .venv on a fresh machine.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := host store trainer tui cli

# A strict editable install does not see a new file until it is made again, so its stamp
# covers the list of source files; the dependencies have a stamp of their own, being slow.
DEPS := $(VENV)/.deps-$(shell cat pyproject.toml constraints.txt | cksum | tr -d ' ')
LINKS := $(VENV)/.links-$(shell { cat pyproject.toml; find $(PACKAGES) -name '*.py' -o -name py.typed | sort; } | cksum | tr -d ' ')

.PHONY: demo test test-slow check format lint types contracts bench setup clean help
.DEFAULT_GOAL := help

help:
	@echo 'make demo       train two real models and watch them'
	@echo 'make test       the test suite (11 minutes on two cores)'
	@echo 'make test-slow  the long fault and soak suites too'
	@echo 'make check      format, lint, types, import contracts, tests: what CI runs'
	@echo 'make format     rewrite the code in house format'
	@echo 'make bench      the benchmarks, beside their peers'
	@echo 'make clean      remove .venv and build output'

setup: $(LINKS)

$(DEPS):
	@test -n "$(PYTHON)" || { echo 'ckptop needs Python 3.11 or newer; none was found on PATH'; exit 2; }
	@echo 'Setting up $(VENV) (once, a few minutes: torch is large)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'setuptools>=77' -c constraints.txt
	@# torch first and alone, so that the pinned build is what everything after it finds
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]' --config-settings editable_mode=strict
	@rm -f $(VENV)/.deps-* $(VENV)/.links-*
	@touch $@

$(LINKS): $(DEPS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . --config-settings editable_mode=strict
	@rm -f $(VENV)/.links-*
	@touch $@

demo: setup
	@$(BIN)/ckptop demo

# A process a core; `make test JOBS=0` runs all in one, as a debugger wants it.
JOBS ?= auto

test: setup
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m 'not slow' $(ARGS)

test-slow: setup
	$(BIN)/pytest -n $(JOBS) --dist worksteal --timeout 3600 $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) --no-print-directory types contracts test

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy $(foreach p,$(PACKAGES),-p ckptop.$(p))
	$(BIN)/mypy tests
	cd benchmarks && ../$(BIN)/mypy --config-file ../pyproject.toml .
	cd examples && ../$(BIN)/mypy --config-file ../pyproject.toml --allow-untyped-calls .

contracts: setup
	$(BIN)/lint-imports

bench: setup
	@for b in benchmarks/*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

clean:
	rm -rf $(VENV) build ckptop.egg-info
