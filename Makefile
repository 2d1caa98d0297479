# Everything a newcomer types. `make run` and `make test` need nothing typed before them and may be repeated.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMPS := build/stamps
FUZZ_SECONDS ?= 30
ROUTER_SOURCES := $(shell find media/router -name target -prune -o -type f \( -name '*.rs' -o -name 'Cargo.*' \) -print)
UI_SOURCES := $(shell find web/ui -name node_modules -prune -o -name dist -prune -o -type f -print 2>/dev/null)

.PHONY: help setup peers run test fuzz flood soak lint demo bench reach impairments lock clean

help: ## What can be typed here
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMPS)/system $(STAMPS)/python $(STAMPS)/router $(STAMPS)/ui ## Install and build everything into .venv and web/ui/dist
	@echo "setup: ready; .venv/bin/anke --help says what it can do"

run: setup ## Start the platform with a demo class in progress
	exec $(VENV)/bin/anke up --demo

peers: setup $(STAMPS)/peers ## Also the foreign WebRTC stacks that only the tests need

test: peers ## All tests: Rust core, Python, front end, interop with foreign peers, journeys in Chromium
	@echo "test: Rust core"
	cargo test --quiet --manifest-path media/router/Cargo.toml
	@echo "test: fuzzing the router"
	media/router/fuzz/run.sh $(FUZZ_SECONDS)
	@echo "test: front end"
	npm --prefix web/ui test --silent
	@echo "test: Python and browsers"
	$(PYTHON) -m pytest -q $(PYTEST_ARGS)

fuzz: ## Fuzz the router's parsers and its core with hostile peers: make fuzz FUZZ_SECONDS=600
	media/router/fuzz/run.sh $(FUZZ_SECONDS)

flood: setup ## Viewers' loss under 50 000 garbage datagrams a second; the figures are build/flood.json
	$(PYTHON) tests/bench/flood.py --out build/flood.json

soak: setup ## An hour of stream time with 10 000 layer switches, 500 joins and leaves: what stays; build/soak.json
	$(PYTHON) tests/bench/soak.py --out build/soak.json

lint: setup ## Formatters' and linters' opinions, types, import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(PYTHON) -m mypy.stubtest media._router --mypy-config-file pyproject.toml --allowlist media/router/stubtest-allowlist.txt
	cargo fmt --check --manifest-path media/router/Cargo.toml
	cargo clippy --quiet --manifest-path media/router/Cargo.toml --all-targets --features python -- -D warnings

demo: setup ## One whole demo class without a browser; the report is build/demo.json
	$(VENV)/bin/anke demo --headless --report build/demo.json

bench: setup ## Server CPU per packet, per join and memory per viewer, ours and three peers; build/bench.json and .svg
	$(PYTHON) tests/bench/bench.py --out build/bench.json

reach: setup ## Seconds to the first picture behind each kind of obstacle; the figures are build/reach.json
	$(PYTHON) -m tests.netlab.reach_report --out build/reach.json

impairments: setup ## A browser watches through bad lines, cell by cell; build/impairments.json, .md, .svg
	$(PYTHON) tests/netlab/impairments.py --out build/impairments.json

lock: ## Refresh requirements.lock from pyproject.toml
	$(VENV)/bin/uv pip compile pyproject.toml --extra dev --extra demo --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command 'make lock' --python-version 3.11 -q -o requirements.lock

clean: ## Remove what was built (not var/, where the data is)
	rm -rf build media/_router*.so media/router/target web/ui/dist web/ui/node_modules

$(STAMPS)/system: deploy/system-packages.sh
	@mkdir -p $(@D)
	@echo "setup: system packages"
	@deploy/system-packages.sh
	@touch $@

$(STAMPS)/peers: $(STAMPS)/system deploy/system-packages.sh tests/media/node_peer/package-lock.json
	@echo "setup: foreign peers of the tests"
	@deploy/system-packages.sh tests
	@npm --prefix tests/media/node_peer ci --silent --no-audit --no-fund
	@touch $@

$(PYTHON):
	@echo "setup: virtual environment .venv"
	@python3 -m venv $(VENV)

$(STAMPS)/python: $(STAMPS)/system requirements.lock requirements-bootstrap.lock | $(PYTHON)
	@echo "setup: Python packages (hash-checked)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	@$(VENV)/bin/uv pip install --quiet --python $(PYTHON) --require-hashes -r requirements.lock
	@touch $@

# A stale extension would shadow the new one: it goes before the build.
$(STAMPS)/router: $(STAMPS)/python pyproject.toml $(ROUTER_SOURCES)
	@echo "setup: media router (Rust)"
	@rm -f media/_router*.so
	@$(VENV)/bin/uv pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --reinstall-package anke --editable .
	@touch $@

$(STAMPS)/ui: $(UI_SOURCES)
	@echo "setup: front end"
	@npm --prefix web/ui ci --silent --no-audit --no-fund
	@npm --prefix web/ui run build --silent
	@mkdir -p $(@D) && touch $@
