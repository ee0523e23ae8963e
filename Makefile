# make setup | train | test: each works in a fresh clone with Python 3.11 and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?= model=lsm dataset=navier_stokes

.PHONY: setup train test clean

setup: $(INSTALLED)

# The stamp makes a second call install nothing; a changed dependency list installs again.
$(INSTALLED): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# The Well's loader reads our files in a test; its own pins (an old fsspec) clash, hence --no-deps.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps the-well einops
	touch $@

train: setup
	$(BIN)/python train.py $(ARGS)

# Cheapest first; the second pytest call compiles and exports, which the shape-checking hook prevents.
test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "not slow and not unhooked"
	$(BIN)/python -m pytest -m "not slow and unhooked" --jaxtyping-packages=
	$(BIN)/python -m pytest --doctest-modules sciml --jaxtyping-packages=

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
