# `make demo`: forecast the sunspots.   `make test`: everything CI runs.   `make help`: the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

CXX    ?= g++
NATIVE := setup.py $(wildcard src/throughtime/kernels/native/*)

.DEFAULT_GOAL := help
.PHONY: help demo test compiler native sanitize lint types doors unit bench format clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

compiler:
	@command -v $(firstword $(CXX)) > /dev/null || echo "No C++ compiler ($(CXX)) found: the layers will be several times slower. On Debian: apt install g++; then: make native"

$(VENV)/.demo: pyproject.toml constraints.txt $(NATIVE) | compiler
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing throughtime into $(VENV) (a minute the first time) ..."
	@$(PIP) -e '.[report]' && touch $@

$(VENV)/.test: pyproject.toml constraints.txt $(NATIVE) | compiler
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -e '.[test]' && touch $@ $(VENV)/.demo

demo: $(VENV)/.demo  ## install into .venv and forecast the sunspots 11 years ahead
	@$(BIN)/throughtime forecast sunspots --h 11 --out sunspots-forecast.csv --report sunspots-report.html

test: lint types doors unit  ## everything CI runs

native: $(VENV)/.demo  ## build the C++ kernels again, in place
	@$(PIP) --no-deps -e .

lint: $(VENV)/.test  ## linter and formatter check
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.test  ## type checker
	@$(BIN)/mypy

doors: $(VENV)/.test  ## imports point down: the stairs of the house
	@$(BIN)/lint-imports --no-cache

unit: $(VENV)/.test  ## unit tests, doctests, examples
	@$(BIN)/python -m pytest

bench: $(VENV)/.demo  ## time the demo and the layers, score the sunspots (minutes)
	@$(BIN)/python benchmarks/demo.py 3
	@$(BIN)/python benchmarks/layers.py
	@$(BIN)/python benchmarks/sunspots.py --cells rnn --seeds 0

format: $(VENV)/.test  ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## remove the virtual environment and caches
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
