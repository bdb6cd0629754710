# Everything here needs Python 3.11 or newer and make, nothing else. `make` alone lists what there is.

VENV := .venv
BIN := $(VENV)/bin

# The first of these that is new enough makes the environment; PYTHON=… chooses another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

.DEFAULT_GOAL := help
.PHONY: help env demo test bench soak lint lock sbom clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

env: $(VENV)/.made  ## the Python environment in .venv, made again when requirements.lock or pyproject.toml changed

# What is installed is what requirements.lock names, by checksum; the project itself is installed editable, with the build
# tools of that lock, so that nothing else is downloaded.
$(VENV)/.made: requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: Python 3.11 or newer is needed and none was found; install one, or say PYTHON=/path/to/python3 make …" >&2; \
		exit 1; fi
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) can't make environments; install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2; \
		exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: env  ## local Kafka and Redis, a simulated AlipayHK and merchants, the whole pipeline; invariants counted at the end
	$(BIN)/notifier demo

# Two processes share the tests, by the file (tests/spread.py); PROCESSES=0 is one, as `pytest` alone. They start hundreds
# more out of this folder: a third of what each costs is compiling it anew, where Python is told to keep nothing compiled.
PROCESSES ?= 2
test: export PYTHONDONTWRITEBYTECODE :=

test: lint  ## linters, types, import rules and every test, on local Kafka and Redis; what CI calls
	$(BIN)/pytest -n $(PROCESSES) --max-worker-restart 0

bench: env  ## ratios in one run; writes .local/bench.json
	$(BIN)/python -m tests.benchmarks

soak: env  ## real faults in the middle of the work, each in turn; FAULT=name for one kind, SEED=n, SECONDS=n
	$(BIN)/python -m tests.faults $(if $(FAULT),--fault $(FAULT)) $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

lint: env  ## ruff, mypy and import-linter alone
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# uv only resolves here; it is not needed for anything else. The options keep the files the same for every platform and free
# of where packages came from. What the image installs is a part of the same lock: what runs and its traces, at the same versions.
LOCKING := uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-header
lock: env  ## requirements.lock from pyproject.toml, the image's part of it, and the lock of Kafka's jars (needs uv: pip install uv)
	$(LOCKING) --all-extras --upgrade --output-file requirements.lock
	$(LOCKING) --extra telemetry --constraint requirements.lock --upgrade --output-file deploy/runtime.lock
	$(BIN)/python -m notifier.local.lock

sbom: env  ## dist/sbom.json, the bill of materials: every package and jar that is locked (CycloneDX)
	$(BIN)/python -m deploy.sbom dist/sbom.json

clean:  ## stop local services and remove .venv, .local and caches
	@if [ -x $(BIN)/notifier ] && [ -e .local/services.json ]; then $(BIN)/notifier local down; fi
	rm -rf $(VENV) .local build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
