# `make demo` and `make test` set up all that they need in .venv; a second run installs nothing.
#
# PYTHON  the Python, 3.11 or newer, that .venv is made with
# TORCH   what pip installs as torch where there is no NVIDIA GPU (where there is one, pip chooses
#         within the range of pyproject.toml). If pip would take a CUDA build of gigabytes for it,
#         as on Linux from the public index, name the index of CPU builds once:
#         make demo TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install demo test lint format clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.torch:
	@version=$$($(PYTHON) --version 2>&1) || version='no such program'; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "REMIND needs Python 3.11 or newer, but $(PYTHON) is: $$version;" \
	    "install one and name it, as in make demo PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV): once, about two minutes."
	@$(PYTHON) -m venv $(VENV)
	@nvidia-smi >/dev/null 2>&1 || $(PIP) $(TORCH)
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@$(PIP) --editable '.[report]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.demo

install: $(VENV)/.dev ## install the package with everything that development needs

demo: $(VENV)/.demo ## train on the built-in cohort and show how well each kind of patient is served
	$(BIN)/remind demo

lint: $(VENV)/.dev ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports --no-logo

test: lint ## lint, types, import rules and the tests
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist loadscope

format: $(VENV)/.dev ## format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
