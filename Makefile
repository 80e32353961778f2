# The two commands of the README are `make grade` and `make test`; the rest is for those who write exercises.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# CI samples the generated mutants and the wrong answers, tries right ones on their own parts, and takes one seed;
# `make audit` tries all.
MUTANTS ?= all
SEEDS ?= 3
WRONG ?=

.PHONY: grade practice test reference audit lint clean

grade: $(VENV)/.practice  ## grade what you have begun in exercises/, and say what is next
	@$(BIN)/grader check; code=$$?; [ $$code -le 1 ] || exit $$code
	@$(BIN)/grader

practice: $(VENV)/.practice  ## the practice page: statement, editor and verdicts in a browser
	@$(BIN)/grader serve

HANGS = -o faulthandler_timeout=1200 -o faulthandler_exit_on_timeout=true
# A test that hangs ends its worker, with the traceback. Not pytest-timeout: its clock is the one that checks use.

CROWDED = tests/grader/engine/test_shares.py
# It fills the machine with hundreds of busy processes: no other test runs beside it.

BESIDE = -n 2 --dist loadfile
# Two tests at a time, those of one file by one process: what a file makes for all its tests is made once.

test: $(VENV)/.dev  ## the whole test suite
	$(BIN)/pytest -q $(BESIDE) --durations=20 $(HANGS) --ignore $(CROWDED) tests/browser tests/grader tests/reference
	$(BIN)/pytest -q $(HANGS) $(CROWDED)
	$(BIN)/pytest -q $(BESIDE) solutions

reference: $(VENV)/.dev  ## the solutions against papers and other libraries
	$(BIN)/pytest tests/reference

audit: $(VENV)/.dev  ## prove that every exercise is healthy, with all generated mutants
	$(BIN)/grader dev audit --mutants $(MUTANTS) --seeds $(SEEDS) $(if $(WRONG),--wrong $(WRONG))

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/grader dev build --check
	$(BIN)/python web/check.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first and by itself: it is the large one, and no other package may choose its build.
# The version stands in grader/__init__.py: who raises it installs again, for results name what is installed.
$(VENV)/.practice: $(VENV)/bin/python pyproject.toml constraints.txt $(wildcard grader/__init__.py)
	@echo "Installing torch into $(VENV): once, a minute or two."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@echo "Installing the grader."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.practice
	@echo "Installing what the tests need."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,reference]'
	@touch $@
