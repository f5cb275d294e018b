# Every target sets itself up: a fresh clone needs Python 3.11 or newer, make and git.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: help setup demo test check format bench doctor clean

help:
	@echo "make demo    hear it: eight guilds on an embedded stand-in for Discord, one WAV each"
	@echo "make test    run the tests"
	@echo "make check   lint, format and type checks"
	@echo "make bench   measure cost per frame and lateness"
	@echo "make doctor  what is installed and active on this machine"
	@echo "make format  rewrite the sources in the house format"
	@echo "make clean   remove what the other targets made"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml Makefile
	@test -n "$(PYTHON)" || { echo "voicepool needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --editable ".[hikari,testing]" --group dev
	@touch $@

demo: setup
	$(BIN)/voicepool demo

# Much of a run is waiting for audio to play, so the processes hardly get in each other's way.
test: setup
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks frame_cost pacing busy_bot player

doctor: setup
	$(BIN)/voicepool doctor

clean:
	rm -rf $(VENV) build dist demo-out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
