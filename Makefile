# `make demo` and `make test-embedded` need git, make and Python 3.11 or newer, nothing else: each first makes .venv from
# requirements/dev.txt. PYTHON=/path/to/python3 chooses another interpreter for it. `make test` and `make test-slow` need
# Go too, for a worker and a client in Go, and for Temporal's dev server where `temporal` is not on PATH.

SHELL := /bin/sh
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# pyright's wrapper would otherwise ask the network whether there is a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# A process for each core, whose last tests the other takes over; each has a Temporal server of its own.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# A machine with much else to do hangs in no piece of a long run.
UNHURRIED := --override-ini faulthandler_timeout=3600

# What the tests of `prove` take from the command line.
export PROGRAMS SEED PATIENCE

.PHONY: help
help: ## Say what there is.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

.PHONY: venv
venv: ## Make .venv, or bring it up to date.
	@tools/venv --project .venv requirements/dev.txt

PYTHONS ?= python3.12 python3.13 python3.14
RUNTIME_TESTS := $(addprefix tests/,activity client determinism differential embedded history payload replay testing worker)

.PHONY: demo
demo: venv ## Provision a node, kill the worker half-way, and watch the next one finish.
	@$(BIN)/python -m examples.node_provisioner.demo

.PHONY: temporal
temporal: venv ## Have the Temporal dev server that tests run against; the first time builds it, with Go, in minutes.
	@$(BIN)/python -m tools.temporal_cli >/dev/null

.PHONY: server
server: venv ## Serve Temporal at localhost:7233 by its dev server, in memory, until Ctrl-C.
	@temporal=$$($(BIN)/python -m tools.temporal_cli) && exec "$$temporal" server start-dev

.PHONY: interop
interop: venv ## Build the Go worker and client that the tests talk to; the first time takes a minute or two.
	@$(BIN)/python -m tools.interop

.PHONY: test
test: venv temporal interop ## Run the tests, but for the slow ones.
	$(PYTEST) -m "not slow"

.PHONY: test-embedded
test-embedded: venv ## Run the tests that need no Temporal server and no Go, but for the slow ones.
	$(PYTEST) -m "not slow and not temporal"

.PHONY: test-slow
test-slow: venv temporal interop .cache/wheels/dev/complete .cache/wheels/oldest/complete ## Run the slow tests.
	$(PYTEST) -m slow

.PHONY: prove
prove: venv temporal ## Hold replay against Temporal's Replayer, and the check against payloads and histories; make prove PROGRAMS=20000 SEED=1 says how long.
	SEED=$${SEED:-$$($(BIN)/python -c "import secrets; print(secrets.randbits(32))")} PATIENCE=$${PATIENCE:-60} \
	    $(PYTEST) $(UNHURRIED) -v -rP --show-capture stdout -m slow tests/differential tests/versioning/test_evolution.py

.PHONY: test-pythons
test-pythons: ## Run the tests of the runtime on other Pythons; make test-pythons PYTHONS="/path/to/python3.13 ...".
	@for python in $(PYTHONS); do \
	    "$$python" -c '' 2>/dev/null || { echo "$$python: not here"; continue; }; \
	    folder=.cache/pythons/$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    mkdir -p .cache/pythons; \
	    PYTHON="$$python" tools/venv --project "$$folder" requirements/dev.txt || exit 1; \
	    PATH="$(CURDIR)/$$folder/bin:$$PATH" "$$folder/bin/python" -m pytest -q $(UNHURRIED) -m "not slow" $(RUNTIME_TESTS) || exit 1; \
	done

.PHONY: check
check: venv ## Lint, and check the types.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/buf lint

.PHONY: format
format: venv ## Format, and fix what can be fixed.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: generate
generate: venv ## Write everything that is generated and committed.
	$(BIN)/python tools/generate.py
	$(BIN)/python -m tools.interop messages

.PHONY: bench
bench: venv temporal ## Measure against peers.
	@tools/venv .cache/bench requirements/bench.txt
	$(BIN)/python -m benchmarks.durable --peer-python .cache/bench/bin/python
	$(BIN)/python -m benchmarks.generation
	$(BIN)/python -m benchmarks.replay
	$(BIN)/python -m benchmarks.open_runs
	$(BIN)/python -m benchmarks.versioning
	$(BIN)/python -m benchmarks.temporal

# What the slow tests install from, so that they need no network themselves.
.cache/wheels/%/complete: requirements/%.txt | venv
	rm -rf $(@D)
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --requirement $< --dest $(@D)
	@touch $@

.PHONY: lock
lock: ## Write requirements/ from pyproject.toml; make lock UPGRADE=--upgrade takes what is newest.
	@tools/venv .cache/lock requirements/lock.txt
	.cache/lock/bin/uv pip compile $(LOCK_OPTIONS) --all-extras --group dev --output-file requirements/dev.txt pyproject.toml
	.cache/lock/bin/uv pip compile $(LOCK_OPTIONS) --all-extras --group oldest --resolution lowest-direct --output-file requirements/oldest.txt pyproject.toml
	.cache/lock/bin/uv pip compile $(LOCK_OPTIONS) --group bench --output-file requirements/bench.txt
	.cache/lock/bin/uv pip compile $(LOCK_OPTIONS) --group lock --output-file requirements/lock.txt

LOCK_OPTIONS = --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" $(UPGRADE)

.PHONY: clean
clean: ## Remove everything that can be made again, .venv included.
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
