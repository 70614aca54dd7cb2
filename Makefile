# `make demo` and `make test` need Python 3.11 or newer and nothing else: no GPU, no model hub, no compiler.
# Everything they install goes into .venv, and what runs other people's clients in tests into .venv-clients and
# tests/clients/node/node_modules; a second run installs nothing, and `make clean` removes all of it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Set TRIPTYCH_DEMO_ARGS to pass options on, for example TRIPTYCH_DEMO_ARGS="--precision int8".
ARGS := $(TRIPTYCH_DEMO_ARGS)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Tests start hundreds of Pythons: where an image tells Python to keep no bytecode, each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types contracts lock session clean

help:
	@echo 'make demo    set up .venv, then caption examples/, ask about a picture, do a sum'
	@echo 'make test    the same set-up, then lint, types, import contracts and all tests'
	@echo 'make setup   only set up .venv'
	@echo 'make lock    write the versions installed in .venv into requirements*.lock'
	@echo 'make session put what the demo shows into README.md'
	@echo 'make clean   remove .venv, the environments of test clients, and caches'

setup: $(VENV)/runtime.stamp

# Stamps say for which lock files the environment was built.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
		f"error: Python 3.11 or newer is needed, $(PYTHON) is {sys.version.split()[0]}; use make PYTHON=python3.12")'
	@echo "== creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $(PYTHON) -m venv failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/runtime.stamp: requirements.lock pyproject.toml | $(BIN)/python
	@echo "== installing Triptych and what it needs (torch is large: this takes some minutes once)"
	@$(PIP) install -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	@echo "== installing the test tools"
	@$(PIP) install -r requirements-dev.lock
	@touch $@

demo: $(VENV)/runtime.stamp
	@BIN=$(BIN) examples/demo.sh $(ARGS)

test: lint types contracts
	@echo "== tests"
	@# Four workers on two cores: much of the tests' time is waiting for servers, clients and browsers.
	@# In the order of the folders: what a folder's tests share is then made once for each worker.
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/dev.stamp
	@echo "== lint"
	@$(BIN)/ruff check .

types: $(VENV)/dev.stamp
	@echo "== types"
	@$(BIN)/mypy

contracts: $(VENV)/dev.stamp
	@echo "== import contracts"
	@$(BIN)/lint-imports --no-logo

lock: $(VENV)/dev.stamp
	@$(BIN)/python tools/lock.py

session: $(VENV)/runtime.stamp
	@$(BIN)/python tools/session.py

clean:
	rm -rf $(VENV) .venv-clients tests/clients/node/node_modules .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
