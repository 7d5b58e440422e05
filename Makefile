# Everything needs Python 3.11 or later and nothing else: each target sets up what it uses.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test check bench proof clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The product alone, and the product with what its tests need; made anew when pyproject.toml changes.
$(VENV)/.product: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.development: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.product

demo: $(VENV)/.product  ## Three nodes on this machine answer a signed question
	$(BIN)/flotta-p2p demo

# Compiled once: the tests start a thousand processes, and where none of them may keep bytecode, each compiles all anew.
# Tests with real processes come last; those of one file stay together, since they share nodes. A failure among the first
# is told after all have run.
test: check  ## All checks and all tests
	$(BIN)/python -m compileall -q actors flame flotta_p2p protocol simulations tests tools
	$(BIN)/python -m pytest -n 2 -m "not system"; others=$$?; $(BIN)/python -m pytest -n 2 --dist loadfile -m system && exit $$others

check: $(VENV)/.development  ## Lint, types, import contracts, tables in docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools transitions --check

bench: $(VENV)/.product  ## Measure speed and memory
	$(BIN)/python -m tools bench

proof: $(VENV)/.development  ## Run the large counts behind the promises; writes docs/proof.md
	$(BIN)/python -m pip install --quiet --editable '.[test,plots]'
	$(BIN)/python -m tools proof

clean:  ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
