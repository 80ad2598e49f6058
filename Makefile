# `make run` and `make test` need Python 3.11 to 3.13 with venv, git and make. They build .venv.
PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
# What is imported is compiled then; compiling all that is installed takes a minute.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile
HASHED := --require-hashes --no-deps --no-build-isolation
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test slow long coverage mutants lint lock clean

help:  ## List these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 8

run: $(VENV)/run.stamp  ## Train, convert, simulate and log a network (overrides: ARGS="data=mnist ...")
	@$(BIN)/python -m snnpipe $(ARGS)

test: $(VENV)/kernels.stamp  ## Run the tests (options of pytest: ARGS="-k name ...")
	@$(BIN)/python -m pytest $(if $(COVERAGE),--cov --cov-report=) $(ARGS)

slow: $(VENV)/kernels.stamp  ## Run the tests that take tens of seconds
	@$(BIN)/python -m pytest -m "slow and not long" $(if $(COVERAGE),--cov --cov-append --cov-report=) $(ARGS)

long: $(VENV)/kernels.stamp  ## Run the tests that take minutes
	@$(BIN)/python -m pytest -m long $(if $(COVERAGE),--cov --cov-append --cov-report=) $(ARGS)

coverage: $(VENV)/test.stamp  ## Show the coverage of lines and branches (first: make test COVERAGE=1, make slow COVERAGE=1)
	@$(BIN)/python -m coverage report

mutants: $(VENV)/test.stamp $(VENV)/mutants.stamp  ## List small changes of the source that no test notices
	@$(BIN)/python -m tests.stress.mutants $(ARGS)

lint: $(VENV)/test.stamp  ## Lint, check the format and the types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lock:  ## Update the locked requirements (needs uv)
	$(UV) pip compile pyproject.toml -o requirements/run.txt $(LOCK)
	$(UV) pip compile pyproject.toml --extra test -c requirements/run.txt -o requirements/test.txt $(LOCK)
	$(UV) pip compile requirements/mutants.in -c requirements/test.txt -o requirements/mutants.txt $(LOCK)
	$(UV) pip compile requirements/build.in -c requirements/run.txt -o requirements/build.txt $(LOCK)

LOCK := --python-version 3.11 --universal --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --quiet $(UPGRADE)

clean:  ## Remove the environment and the files of builds
	rm -rf $(VENV) build mutants src/*.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit("snnpipe needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)

# nengo-dl has no wheel, and its build needs an old setuptools. So that is installed first, and builds it in .venv.
$(VENV)/build.stamp: requirements/build.txt | $(VENV)/bin/python
	$(PIP) --require-hashes --no-deps -r requirements/build.txt
	@touch $@

$(VENV)/%.stamp: requirements/%.txt pyproject.toml $(VENV)/build.stamp
	$(PIP) $(HASHED) -r $<
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/kernels.stamp: $(wildcard src/snnpipe/simulators/event_driven/*.py) $(VENV)/test.stamp
	@$(BIN)/python -m tests.kernels
	@touch $@
