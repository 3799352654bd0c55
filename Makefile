# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501

.DEFAULT_GOAL := help
.PHONY: help run test lint format bench docs pretrained pictures clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/pip install --quiet -r requirements-dev.txt
	@touch $@

run: $(VENV)/.run ## start the dashboard at http://localhost:8501 (PORT=… for another)
	$(BIN)/iomt dashboard --server.port $(PORT)

test: $(VENV)/.dev ## all tests, in Chromium too
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

lint: $(VENV)/.dev ## ruff, mypy and the layers of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## let ruff format and sort
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev ## speed, each figure beside an alternative or a target
	$(BIN)/python -m benchmarks.world_speed
	$(BIN)/python -m benchmarks.adapter_speed
	$(BIN)/python -m benchmarks.optimum
	$(BIN)/python -m benchmarks.city
	$(BIN)/python -m benchmarks.blocks
	$(BIN)/python -m benchmarks.learner_speed
	$(BIN)/python -m benchmarks.access
	$(BIN)/python -m benchmarks.explore_latency
	$(BIN)/python -m benchmarks.page_latency
	$(BIN)/python -m benchmarks.import_tables
	$(BIN)/python -m benchmarks.warehouse
	$(BIN)/python -m benchmarks.warehouse_faults
	$(BIN)/python -m benchmarks.warehouse_training
	$(BIN)/python -m benchmarks.http

docs: $(VENV)/.dev ## the API reference from the docstrings, in docs/api
	OMP_NUM_THREADS=1 $(BIN)/pdoc --math --no-show-source --output-directory docs/api iomt_core

pretrained: $(VENV)/.run ## train all shipped policies again, about 80 minutes on two cores; continues an interrupted run
	$(BIN)/iomt pretrained

pictures: $(VENV)/.dev ## take the pictures of README and guide again
	$(BIN)/python -m docs.take_pictures

clean: ## remove the virtual environment, caches and the API reference
	rm -rf $(VENV) docs/api .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
