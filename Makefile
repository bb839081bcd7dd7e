# make demo   the sample patients: in the viewer with a display, else volumes and pictures in demo-output/
# make test   lint, types, documentation and all tests
# Each does all its own set-up; a second run starts at once. `make PYTHON=/path/to/python3 …` chooses the interpreter.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# Processes that run the tests, a file each at a time, with one thread each.
JOBS ?= 2
# Options for pip, for instance the index with PyTorch's builds for the processor alone.
PIP_FLAGS ?=
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt
DESCRIPTION := pyproject.toml constraints.txt
DISPLAYED := $(or $(DISPLAY),$(WAYLAND_DISPLAY),$(filter Darwin,$(shell uname -s)))
XVFB := $(if $(shell command -v apt-get),xvfb-run --auto-servernum --server-args="-screen 0 1600x1000x24",)

.PHONY: help demo test check lint types docs pytest format clean

help:
	@sed -n '1,3s/^# //p' $(MAKEFILE_LIST)
	@echo "also: make lint, types, docs, pytest, format, clean"

# --- environments, smallest first; each stamp is newer than what it was made from --------------------------------

$(VENV)/.made:
	python=$$(sh tools/find_python.sh) && "$$python" -m venv --clear $(VENV)
	touch $@

$(VENV)/.core: $(VENV)/.made $(DESCRIPTION)
	@echo "Installing napari-gem3d into $(VENV); the first time this takes some minutes"
	$(PIP_INSTALL) --editable .
	touch $@

$(VENV)/.viewer: $(VENV)/.core
	$(PIP_INSTALL) --editable '.[viewer]'
	touch $@

$(VENV)/.dev: $(VENV)/.made $(DESCRIPTION)
	@echo "Installing napari-gem3d and its tools into $(VENV); the first time this takes some minutes"
	$(PIP_INSTALL) --editable '.[dev]'
	touch $@ $(VENV)/.core $(VENV)/.viewer

# --- what people run ---------------------------------------------------------------------------------------------

ifeq ($(strip $(DISPLAYED)),)
demo: $(VENV)/.core
	@start=$$SECONDS; \
	$(BIN)/napari-gem3d demo --headless --out demo-output; \
	echo "make demo: $$((SECONDS - start)) s in all, results in demo-output/"
else
demo: $(VENV)/.viewer
	@sh tools/system_libraries.sh
	$(BIN)/napari-gem3d demo
endif

test: $(VENV)/.dev
	@sh tools/system_libraries.sh xvfb
	@start=$$SECONDS; \
	$(MAKE) --no-print-directory lint types docs pytest; \
	echo "make test: $$((SECONDS - start)) s in all"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Compiled modules are kept, also where the environment says not to: else each process compiles its own.
pytest: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(XVFB) $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist site demo-output .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
