# make quickstart   see it work (no download of data or weights)
# make test         everything that the tests need is installed by it
# make docs         the documentation site, in docs/_build/html
# make bench        retrieval against its peers
# make fuzz         broken and hostile files: ONLY=journal SECONDS=60
# PYTHON=python3.12 chooses the interpreter; each has an environment of its own.

PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(notdir $(PYTHON))),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
export VISUAL_MEMORY_DATA ?= ../shared/data
WORKERS ?= 2
# New memory in huge pages costs the system less, where glibc is asked so.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: quickstart test test-slow fuzz docs bench lint clean

quickstart: $(VENV)/.quickstart
	rm -rf work/quickstart
	$(BIN)/python -m experiments.launch --config=configs/quickstart.py \
	  --workdir=work/quickstart

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -n $(WORKERS) --dist=worksteal -m "not slow" $(TESTS)

test-slow: export AS_USERS_RUN = 1
test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow $(TESTS)
	$(BIN)/python -m pytest -m "not slow" \
	  $(wildcard $(patsubst %,tests/%*_test.py,device_resize distributed memory_ \
	  retrieval_ procedural_ store_handles voting))

# Warnings are errors: a broken link or a name that is gone stops it.
docs: $(VENV)/.test
	$(BIN)/python -m sphinx -q -W --keep-going -E -b html docs docs/_build/html
	@echo "The site: docs/_build/html/index.html"

bench: $(VENV)/.bench
	$(BIN)/python -m experiments.benchmarks.retrieval \
	  --config=configs/benchmark_retrieval.py --workdir=work/bench

SECONDS ?= 600
fuzz: $(VENV)/.test
	nice -n 15 $(BIN)/python tests/fuzz/fuzzing.py --seconds=$(SECONDS) \
	  $(addprefix --only=,$(ONLY))

lint: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv* work build *.egg-info docs/_build docs/_generated

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras: nothing is installed twice.
$(VENV)/.quickstart: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -e ".[data,plots]"
	touch $@

$(VENV)/.test: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -e ".[test]"
	touch $@

$(VENV)/.bench: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -e ".[data,plots,bench,scann]"
	touch $@
