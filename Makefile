# On a machine with Python 3.11 to 3.13 and make, nothing else:
#   make demo   the whole path on synthetic pedestrians, from teacher to report, in minutes
#   make test   the quick tests: every contract, and one whole run
#   make lint   style and types
#   make docs   the manual as a site, in build/docs
# All but docs first make .venv and install there what .ci/lock.txt pins (about 6 GB). PYTHON=/path/to/python chooses the Python.

VENV := .venv
LOCK := .ci/lock.txt
EXTRAS := nni,tune,submit,models,deploy,explain,dev
STAMP := $(VENV)/.installed
LINT_VENV := .venv-lint
LINT_LOCK := .ci/lint-lock.txt
LINT_STAMP := $(LINT_VENV)/.installed
DOCS_VENV := .venv-docs
DOCS_LOCK := .ci/docs-lock.txt
DOCS_STAMP := $(DOCS_VENV)/.installed
CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python)

# Files stay together, so that what they prepare is prepared once.
PYTEST = $(VENV)/bin/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile

.PHONY: help demo test test-medium test-slow lint docs install clean

help:
	@echo "make demo       search, retrain, evaluate and report on synthetic pedestrians"
	@echo "make test       the quick tests: every contract, and one whole run"
	@echo "make test-medium  tests of a second or more: commands from end to end, whole searches"
	@echo "make test-slow  the slow tests"
	@echo "make lint       ruff and mypy, from $(LINT_VENV)"
	@echo "make docs       the manual as a site, in build/docs"
	@echo "make install    only the environment, in $(VENV)"
	@echo "make clean      remove the environments and caches; runs/out stays"

demo: install
	$(VENV)/bin/nas run demo

test: install
	$(PYTEST) -m "not medium and not slow"

test-medium: install
	$(PYTEST) -m "medium and not slow"

test-slow: install
	$(VENV)/bin/python -m pytest -q -m slow

# mypy reads the types of torch and the other packages from $(VENV); ruff looks at nothing but this folder.
lint: install $(LINT_STAMP)
	$(LINT_VENV)/bin/ruff check .
	$(LINT_VENV)/bin/ruff format --check .
	$(LINT_VENV)/bin/mypy --python-executable $(VENV)/bin/python

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet -f nas/docs/mkdocs.yml
	@echo "open build/docs/index.html"

install: $(STAMP)

# Every candidate is run, not only looked for: a name on the PATH may be a shim that points nowhere.
$(VENV)/bin/python:
	@if [ -e $(VENV) ]; then echo "$(VENV) is there but has no Python that runs: 'make clean' removes it" >&2; exit 1; fi; \
	for python in $(CANDIDATES); do \
	  "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue; \
	  found="$$python"; \
	  "$$python" -c 'import venv, ensurepip' 2>/dev/null || continue; \
	  echo "making $(VENV) with $$("$$python" --version) ($$python)"; \
	  "$$python" -m venv $(VENV) && exit 0; \
	  rm -rf $(VENV); \
	done; \
	if [ -n "$$found" ]; then \
	  echo "$$found cannot make a virtual environment: install its venv package (on Debian and Ubuntu: apt install python3-venv)," \
	    "or name another Python: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	else \
	  echo "Python 3.11, 3.12 or 3.13 is needed; tried: $(CANDIDATES)." \
	    "Install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	fi; exit 1

$(STAMP): pyproject.toml $(LOCK) | $(VENV)/bin/python
	@echo "installing into $(VENV) what $(LOCK) pins: some minutes"
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c $(LOCK) -e ".[$(EXTRAS)]"
	@touch $@

# An environment of its own, in which nni's old pins have no say.
$(LINT_STAMP): $(LINT_LOCK) | $(STAMP)
	@echo "installing into $(LINT_VENV) what $(LINT_LOCK) pins"
	@$(VENV)/bin/python -m venv $(LINT_VENV)
	@$(LINT_VENV)/bin/python -m pip install -qq --disable-pip-version-check -r $(LINT_LOCK)
	@touch $@

# The site is made from the sources alone: of $(VENV) it needs the Python, and nothing that is installed there.
$(DOCS_STAMP): $(DOCS_LOCK) | $(VENV)/bin/python
	@echo "installing into $(DOCS_VENV) what $(DOCS_LOCK) pins"
	@$(VENV)/bin/python -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install -qq --disable-pip-version-check -r $(DOCS_LOCK)
	@touch $@

clean:
	rm -rf $(VENV) $(LINT_VENV) $(DOCS_VENV) *.egg-info build .pytest_cache .mypy_cache .ruff_cache
	find nas search_spaces students teachers runs tests -name __pycache__ -type d -prune -exec rm -rf {} +
