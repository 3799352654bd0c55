# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501

.DEFAULT_GOAL := help
.PHONY: help run test lint format bench pretrained pictures clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(BIN)/python
	$(BIN)/pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt | $(BIN)/python
	$(BIN)/pip install --quiet -r requirements-dev.txt
	@touch $@ $(VENV)/.run

run: $(VENV)/.run ## start the dashboard at http://localhost:8501 (PORT=… for another)
	$(BIN)/python -m dashboard --server.port $(PORT)

test: $(VENV)/.dev ## all tests, in Chromium too
	$(BIN)/python -m pytest -n 2 --dist loadscope

lint: $(VENV)/.dev ## ruff, mypy and the layers of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## let ruff format and sort
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev ## speed, each beside a named alternative or target
	$(BIN)/python -m benchmarks.world_speed
	$(BIN)/python -m benchmarks.adapter_speed
	$(BIN)/python -m benchmarks.optimum
	$(BIN)/python -m benchmarks.learner_speed
	$(BIN)/python -m benchmarks.explore_latency

pretrained: $(VENV)/.run ## train all shipped policies anew, about an hour on two cores; goes on where it was left
	$(BIN)/python -m iomt_core pretrained

pictures: $(VENV)/.dev ## take the pictures of README and guide anew
	$(BIN)/python -m docs.take_pictures

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
