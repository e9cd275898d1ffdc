# make demo | make test | make lint | make clean; `make help` tells more.
VENV ?= .venv
PYTHON ?= python3
TORCH_INDEX ?=
# Tests of nodes wait a good third of their time.
JOBS ?= 3
# Faults mostly wait, each in a lab of its own.
FAULT_JOBS ?= 6
WAITING := tests/faults tests/workflows/test_restarting.py
ROW ?= *
N ?= 20
MINUTES ?= 60

BIN := $(VENV)/bin
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PIP := $(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt $(INDEX)
REFERENCE := recipes/data/quickstart/reference/steps.jsonl

.DELETE_ON_ERROR:
.PHONY: help demo test soak fuzz lint docs clean

help:
	@echo "make demo    install into $(VENV), train the quickstart model, compare it with the stored reference"
	@echo "make test    install what the tests need; linters, type checker, layers, tests with coverage"
	@echo "make lint    only the linters, the type checker and the layers"
	@echo "make docs    write docs/findings.md anew from the rows that are checked"
	@echo "make soak    repeat rows of the fault table: make soak ROW='rank_*' N=20"
	@echo "make fuzz    fuzz the readers of logs: make fuzz MINUTES=60; what is found lies in .fuzz/"
	@echo "make clean   remove $(VENV) and caches; runs/ stays"
	@echo ""
	@echo "PYTHON=python3.12  the Python that makes $(VENV); 3.11 or newer"
	@echo "TORCH_INDEX=URL    a further package index; with PyTorch's CPU index some 200 MB are loaded for torch,"
	@echo "                   with the default CUDA build several GB"
	@echo "JOBS=3             test processes"

# The name is what tells this run from another one that is started meanwhile.
demo: $(VENV)/.installed
	name=demo-$$(mktemp -u XXXXXX) && \
		$(BIN)/llmctl run recipes/quickstart.yaml --name $$name && \
		$(BIN)/llmctl report $$name --compare $(REFERENCE)

test: lint
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WAITING:%=--ignore %) -n $(JOBS) --dist loadfile --no-loadscope-reorder \
		--cov --cov-report=
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WAITING) -n $(FAULT_JOBS) --dist loadgroup --cov --cov-append --cov-report=
	$(BIN)/coverage report --skip-covered

soak: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.soak '$(ROW)' $(N) $(FAULT_JOBS)

fuzz: $(VENV)/.installed-test
	$(PIP) atheris==3.0.0
	OMP_NUM_THREADS=1 nice $(BIN)/python -m tests.reports.fuzz_readers $(MINUTES) .fuzz

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed
	$(BIN)/python -c "from llmctl.checks.catalogue import page; print(page(), end='')" > docs/findings.md

clean:
	rm -rf $(VENV) build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11, or missing; name another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check install --upgrade 'pip>=25.1'
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt hatch_build.py
	@echo "Downloads: torch is about 200 MB from a CPU index (TORCH_INDEX=URL), several GB as the default CUDA build;"
	@echo "everything else is about 200 MB."
	$(PIP) -e '.[engine]'
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[tensorboard]' --group test
	touch $@
