# `make demo`: forecast the sunspots.   `make test`: everything CI runs.   `make help`: the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint types doors unit bench format clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

$(VENV)/.demo: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing throughtime into $(VENV) (a minute the first time) ..."
	@$(PIP) -e '.[report]' && touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -e '.[test]' && touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## install into .venv and forecast the sunspots 11 years ahead
	@$(BIN)/throughtime forecast sunspots --h 11 --out sunspots-forecast.csv --report sunspots-report.html

test: lint types doors unit  ## everything CI runs

lint: $(VENV)/.test  ## linter and formatter check
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.test  ## type checker
	@$(BIN)/mypy

doors: $(VENV)/.test  ## imports point down: the stairs of the house
	@$(BIN)/lint-imports --no-cache

unit: $(VENV)/.test  ## unit tests, doctests, examples
	@$(BIN)/python -m pytest

bench: $(VENV)/.demo  ## time the demo and the kernels, score the sunspots (minutes)
	@$(BIN)/python benchmarks/demo.py 3
	@$(BIN)/python benchmarks/kernels.py --quick
	@$(BIN)/python benchmarks/sunspots.py --cells rnn --seeds 0

format: $(VENV)/.test  ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## remove the virtual environment and caches
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
