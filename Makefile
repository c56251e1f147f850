# `make help` lists what can be made.
PYTHON ?= python3
VENV ?= .venv
# The torch to install. A GPU user keeps another one: `make quickstart TORCH=torch`.
TORCH ?= torch -c constraints.txt
FUZZ ?=
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-oldest fuzz lint format soak benchmarks clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Make .venv and install the package into it

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[dev]' $(if $(findstring constraints.txt,$(TORCH)),-c constraints.txt)
	touch $@

quickstart: install ## Run the whole main job on generated data (at most 8 minutes on 2 cores)
	$(BIN)/twhin-hf run --config quickstart

test: install $(VENV)/.transformers-tests ## Run the tests
	$(BIN)/python -m pytest tests twhin_hf

# transformers' own tests of models, which are in its source distribution alone.
$(VENV)/.transformers-tests: $(VENV)/.installed
	rm -rf $(VENV)/transformers-tests
	version=$$($(BIN)/python -c 'import importlib.metadata as m; print(m.version("transformers"))') && \
	cd $(VENV) && bin/pip download --quiet --no-deps --no-binary transformers \
	    --dest transformers-tests transformers==$$version && cd transformers-tests && \
	tar -xzf transformers-$$version.tar.gz transformers-$$version/tests
	touch $@

test-oldest: $(VENV)-oldest/.installed ## Load, save, publish and pull with the oldest libraries supported
	$(VENV)-oldest/bin/python -m pytest tests/hub/test_matrix.py

$(VENV)-oldest/.installed: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip install --quiet --upgrade pip
	$(VENV)-oldest/bin/pip install --quiet torch pytest --editable '.[peft,sentence-transformers]' -c constraints-oldest.txt
	touch $@

# atheris is built for few versions of Python.
fuzz: install ## Fuzz every reader (FUZZ='--reader csv --inputs 1000000' for one; all take some 20 minutes)
	$(BIN)/pip install --quiet --editable '.[fuzz]' -c constraints.txt
	$(BIN)/python tests/fuzz/fuzz_readers.py $(FUZZ)

lint: install ## Check style, types and spelling
	$(BIN)/ruff check twhin_hf tests examples
	$(BIN)/ruff format --check twhin_hf tests examples
	$(BIN)/mypy
	$(BIN)/typos

format: install ## Format the code
	$(BIN)/ruff check --fix twhin_hf tests examples
	$(BIN)/ruff format twhin_hf tests examples

soak: install ## Kill every long command at random and compare (30 minutes)
	$(BIN)/python tests/soak/soak.py

benchmarks: install ## Run the speed comparisons (about 15 minutes)
	$(BIN)/python examples/benchmarks/pretraining_throughput.py
	$(BIN)/python examples/benchmarks/network_embedding.py

clean: ## Remove what was made, but for runs/
	rm -rf $(VENV) $(VENV)-oldest build *.egg-info .pytest_cache .mypy_cache .ruff_cache
