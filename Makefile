.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= claimtrace-data
ROOMS = $(shell $(PYTHON) -c "import runpy; print(*runpy.run_path('claimtrace/rooms.py')['ROOMS'])")

.PHONY: help setup demo test test-quick test-long check kernels ready bench docs kafka clean

help: ## what can be made here
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(VENV)/ready ## make the environment from the locked packages

demo: setup ## the main job from end to end in a few minutes; lands in $(DATA)/
	$(BIN)/claimtrace --folder $(DATA) demo

test: ready ## all tests, with doctests and the checks of style, types and imports
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --doctest-modules $(ROOMS) tests

test-quick: ready ## what needs no server and no patience, for the edit loop: about two minutes
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'not long and not slow and not server' --doctest-modules $(ROOMS) tests

test-long: setup ## what takes too long for every change: half an hour of troubles on real servers
	FLEET_FULL=1 $(BIN)/python -m pytest -m long --timeout 1200 tests

ready: setup
	@$(MAKE) --no-print-directory -j2 check kernels

kernels: setup
	@$(BIN)/python -m tests.worlds.compiled_kernels > /dev/null 2>&1 || $(BIN)/python -m tests.worlds.compiled_kernels

check: setup ## style, types and import rules only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## all benchmarks and the peers in one run, a quarter of an hour; figures in $(DATA)/
	@$(BIN)/python -m benchmarks --json $(DATA)/bench.json

docs: setup ## write the generated references again
	$(BIN)/python docs/generate.py

kafka: setup ## a real Kafka on 127.0.0.1:9092 until Ctrl-C; needs Java 17 and Maven
	@$(BIN)/python -m tests.servers.kafka --folder $(DATA)/kafka

clean: ## remove the environment and what tools left (not the data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
