# `make demo`: forecast the sunspots.   `make test`: everything CI runs.   `make help`: the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

WORKERS ?= 2

NATIVE := setup.py $(wildcard src/throughtime/kernels/native/*)

.DEFAULT_GOAL := help
.PHONY: help demo test compiler native sanitize lint types doors unit fuzz bench format clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

compiler:
	@command -v $(firstword $(CXX)) > /dev/null || echo "No C++ compiler ($(CXX)) found: the layers will be several times slower. On Debian: apt install g++; then: make native"

$(VENV)/.demo: pyproject.toml constraints.txt | compiler
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing throughtime into $(VENV) (a minute the first time) ..."
	@$(PIP) -e '.[report]' && touch $@ $(VENV)/.native

$(VENV)/.test: pyproject.toml constraints.txt | compiler
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -e '.[test]' && touch $@ $(VENV)/.demo $(VENV)/.native

$(VENV)/.native: $(NATIVE) | compiler
	@$(PIP) --no-deps -e . && touch $@

demo: $(VENV)/.demo $(VENV)/.native  ## install into .venv and forecast the sunspots 11 years ahead
	@$(BIN)/throughtime forecast sunspots --h 11 --out sunspots-forecast.csv --report sunspots-report.html

test: lint types doors unit  ## everything CI runs

native:  ## build the C++ kernels again, in place
	@rm -f $(VENV)/.native && $(MAKE) --no-print-directory $(VENV)/.demo $(VENV)/.native

# What is built from the kernels and a program that runs them all (tests/native/driver.cpp).
SANITIZED := $(addprefix build/sanitize/,bounds address thread)
WATCH_address := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
WATCH_thread := -O1 -g -fsanitize=thread
WATCH_bounds := -O3
DRIVEN := tests/native/driver.cpp $(addprefix src/throughtime/kernels/native/,avx512.cpp avx2.cpp portable.cpp team.cpp)

build/sanitize/%: tests/native/driver.cpp $(NATIVE)
	@mkdir -p $(@D) && echo "Building $@ (minutes) ..."
	@$(CXX) -std=gnu++17 -Wall -Wextra -ffp-contract=fast -fno-math-errno -pthread $(WATCH_$*) $(DRIVEN) -o $@

sanitize: $(SANITIZED)  ## run the C++ kernels under the address, undefined and thread sanitizers (ten minutes)
	@for each in $^; do echo $$each && ASAN_OPTIONS=max_malloc_fill_size=1073741824:malloc_fill_byte=255 $$each || exit 1; done

lint: $(VENV)/.test  ## linter and formatter check
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.test  ## type checker
	@$(BIN)/mypy

doors: $(VENV)/.test  ## imports point down: the stairs of the house
	@$(BIN)/lint-imports --no-cache

# A worker has one thread: nets this small lose time to a second.
unit: $(VENV)/.test $(VENV)/.native  ## unit tests, doctests, examples
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

fuzz: $(VENV)/.test $(VENV)/.native  ## unit tests with random examples, new ones each time (minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m hypothesis --hypothesis-profile=fuzz tests

bench: $(VENV)/.demo $(VENV)/.native  ## time the demo and the kernels, score the sunspots (minutes)
	@$(BIN)/python benchmarks/demo.py 3
	@$(BIN)/python benchmarks/kernels.py --quick
	@$(BIN)/python benchmarks/accuracy/sunspots.py yearly --seeds 0 --set cell=rnn

format: $(VENV)/.test  ## rewrite the code in the house's format
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## remove the virtual environment and caches
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
