# Everything sets itself up: only Python 3.11+, make and a C compiler are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --no-compile
TORCH := torch==2.13.0

# Bytecode is kept of what is imported; of all that is installed it would take half a minute.
unexport PYTHONDONTWRITEBYTECODE
# Threads of several processes would wait for work by spinning, in each other's way.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1

.PHONY: help everything demo test test-slow test-all test-clusters test-experiments experiments lint docs bench clean
help:
	@echo "make demo   recover a real family forest (fetches 66 MB of weights)"
	@echo "make test   run the tests"
	@echo "            (those of the page need Chromium: apt-get install chromium)"
	@echo "make test-slow   those that take long: processes, kills, browsers"
	@echo "make test-all   both, as CI runs them"
	@echo "make test-clusters   those that start Dask and Ray (90 MB to fetch)"
	@echo "make everything   install what test, test-experiments, lint and docs need, in one go"
	@echo "make lint   check style and types"
	@echo "make docs   build the site in build/site; a dead link fails"
	@echo "make experiments   train models of known heritage (hours) and write docs/experiments"
	@echo "make bench  time against baselines (needs 8 GB of disk, 10 GB of memory)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch on its own, first: what depends on it would bring several GB of CUDA along.
$(VENV)/.torch: $(BIN)/python
	$(INSTALL) $(TORCH)
	@touch $@

BUILT := pyproject.toml src/mother/measures/kernel.c src/mother/measures/loops.h
TESTS := test,lint,png,browser,serve

$(VENV)/.installed: $(BIN)/python $(BUILT)
	$(INSTALL) -e .
	@touch $@

$(VENV)/.test: $(VENV)/.torch $(BUILT)
	$(INSTALL) -e '.[$(TESTS)]'
	@touch $(VENV)/.installed $@

$(VENV)/.clusters: $(VENV)/.test
	$(INSTALL) -e '.[dask,ray]'
	@touch $@

# Needs real images: on Debian, apt-get install dataset-fashion-mnist
$(VENV)/.experiments: $(VENV)/.test
	$(INSTALL) -e '.[experiments]'
	@touch $@

# What lint, docs, test and test-experiments need, in one go: the package is built once.
everything: $(VENV)/.torch
	$(INSTALL) -e '.[$(TESTS),experiments,docs]'
	@for stamp in installed test experiments docs; do touch $(VENV)/.$$stamp; done

demo: $(VENV)/.installed
	$(BIN)/python demo/run.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow -n auto --maxprocesses 4 --dist worksteal

# both in one go: what the tests import is imported once
test-all: $(VENV)/.test
	$(BIN)/python -m pytest -m "not cluster" -n auto --maxprocesses 4 --dist worksteal

test-clusters: $(VENV)/.clusters
	$(BIN)/python -m pytest -m cluster tests/index

# A file's tests share what they have made; all files share the models. Each worker has a core.
test-experiments: $(VENV)/.experiments
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile experiments

experiments: $(VENV)/.experiments
	$(BIN)/python -m experiments all

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

$(VENV)/.docs: $(VENV)/.installed
	$(INSTALL) -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -E docs build/site

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build
