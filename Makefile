# make run    six experiments on a small GPT, trained on this machine
# make test   the test suite
# make lint   style, formatting, types and the import contract
# PYTHON=/path/to/python3.12 after any of them names the interpreter that .venv is made with

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Much of the tests is waiting, so that two files go at a time. Tests of one file share what is slow to make.
PARALLEL := -n 2 --dist loadfile

.PHONY: run test lint
.NOTPARALLEL:

run: $(VENV)/.installed
	$(BIN)/looper run targets/nanogpt --experiments 6

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The stamps make a second call instant; a changed dependency makes them stale.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(needs)@$(make-venv)
	$(BIN)/python -m pip install -c constraints.txt -e '.[nanogpt,search]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(needs)@$(make-venv)
	$(BIN)/python -m pip install -c constraints.txt -e '.[nanogpt,search,dev]'
	@touch $@ $(VENV)/.installed

# A usable .venv is kept; anything else under that name (half made, too old, its Python gone) is made anew.
make-venv = $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| '$(PYTHON)' -m venv --clear $(VENV)

# Nothing is printed where there is no such program. Debian and Ubuntu keep ensurepip in a package of its
# own: without it `import venv` works, and making an environment fails half-way.
version = $(shell '$(PYTHON)' -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
recent = $(shell '$(PYTHON)' -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null)
ensurepip = $(shell '$(PYTHON)' -c 'import venv, ensurepip; print("there")' 2>/dev/null)
git = $(shell git --version 2>/dev/null)

# $(error) prints one line and stops before anything is made; a failing command would add a line of make's.
needs = $(if $(version),,$(error looper needs Python 3.11 or newer and '$(PYTHON)' does not run here: \
	install python3 and python3-venv, or name another with make PYTHON=/path/to/python3))$(if \
	$(recent),,$(error looper needs Python 3.11 or newer and '$(PYTHON)' is $(version): \
	name a newer one with make PYTHON=/path/to/python3.12))$(if \
	$(ensurepip),,$(error '$(PYTHON)' cannot make virtual environments because its ensurepip module is missing: \
	install it (Debian and Ubuntu: apt install python3-venv), then run make again))$(if \
	$(git),,$(error looper needs git and there is none on this machine: \
	install it (Debian and Ubuntu: apt install git), then run make again))
