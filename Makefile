# `make help` lists what can be made.
PYTHON ?= python3
VENV ?= .venv
# The torch to install. A GPU user keeps another one: `make quickstart TORCH=torch`.
TORCH ?= torch -c constraints.txt
FUZZ ?=
BIN := $(VENV)/bin
LOCKED := --quiet --require-hashes --no-deps

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-deepspeed test-oldest wheel docs fuzz soak lint format lock check-lock audit benchmarks clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Make .venv and install the package into it

# All but torch is checked by its hash. The last line finds out whether the lock lacks anything.
$(VENV)/.installed: setup.cfg constraints.txt requirements-build.lock requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(LOCKED) -r requirements-build.lock
	$(BIN)/pip install $(LOCKED) --no-build-isolation -r requirements.lock
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --no-index --no-build-isolation --editable '.[dev]'
	touch $@

quickstart: install ## Run the whole main job on generated data (at most 8 minutes on 2 cores)
	$(BIN)/twhin-hf run --config quickstart

test: install $(VENV)/.transformers-tests ## Run the tests
	$(BIN)/python -m pytest tests twhin_hf

# transformers' own tests of models, which are in its source distribution alone.
$(VENV)/.transformers-tests: $(VENV)/.installed
	rm -rf $(VENV)/transformers-tests
	mkdir $(VENV)/transformers-tests
	awk '/^[^ ]/ { wanted = /^transformers==/ } wanted' requirements.lock \
	    > $(VENV)/transformers-tests/transformers.lock
	cd $(VENV)/transformers-tests && ../bin/pip download $(LOCKED) --no-build-isolation \
	    --no-binary transformers --dest . -r transformers.lock && \
	tar -xzf transformers-*.tar.gz "$$(basename transformers-*.tar.gz .tar.gz)/tests"
	touch $@

wheel: install ## Build wheel and source archive in dist/, and try them on other Pythons
	$(BIN)/python .ci/try_wheel.py dist

docs: install ## Build the documentation in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test-deepspeed: $(VENV)/.deepspeed ## Train in two processes of DeepSpeed
	PYTHONPATH=$(abspath $(VENV))/deepspeed $(BIN)/python -m pytest tests/training/test_sharded_training.py -k deepspeed

# Beside the other packages and not among them: they import it wherever they find it.
$(VENV)/.deepspeed: $(VENV)/.installed requirements-deepspeed.lock
	$(BIN)/pip install $(LOCKED) --no-build-isolation --target $(VENV)/deepspeed -r requirements-deepspeed.lock
	touch $@

test-oldest: $(VENV)-oldest/.installed ## Load, save, publish and pull with the oldest libraries supported
	$(VENV)-oldest/bin/python -m pytest tests/hub/test_matrix.py

$(VENV)-oldest/.installed: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip install --quiet --upgrade pip
	$(VENV)-oldest/bin/pip install --quiet torch pytest --editable '.[train,peft,sentence-transformers]' -c constraints-oldest.txt
	touch $@

# atheris is built for few versions of Python.
fuzz: install ## Fuzz every reader (FUZZ='--reader csv --inputs 1000000' for one; all take some 20 minutes)
	$(BIN)/pip install --quiet --editable '.[fuzz]' -c constraints.txt
	$(BIN)/python tests/fuzz/fuzz_readers.py $(FUZZ)

lint: install ## Check style, types and spelling
	$(BIN)/ruff check twhin_hf tests examples docs
	$(BIN)/ruff format --check twhin_hf tests examples docs
	$(BIN)/mypy
	$(BIN)/typos

format: install ## Format the code
	$(BIN)/ruff check --fix twhin_hf tests examples docs
	$(BIN)/ruff format twhin_hf tests examples docs

soak: install ## Kill every long command at random and compare (30 minutes)
	$(BIN)/python tests/soak/soak.py

lock: ## Write both lock files anew, with the newest versions that setup.cfg and constraints.txt allow
	$(PYTHON) -m venv $(VENV)-tools
	$(VENV)-tools/bin/pip install --quiet uv
	printf 'torchrec; sys_platform == "linux"\n' | $(VENV)-tools/bin/uv $(COMPILE) setup.cfg - --extra dev -c constraints.txt \
	    --no-emit-package torch --upgrade --output-file requirements.lock
	printf 'pip\nsetuptools\nsetuptools-scm\nwheel\n' | $(VENV)-tools/bin/uv $(COMPILE) - -c requirements.lock \
	    --upgrade --output-file requirements-build.lock
	printf 'deepspeed\neinops\nhjson\nmsgpack\nninja\npy-cpuinfo\n' | $(VENV)-tools/bin/uv $(COMPILE) - -c requirements.lock \
	    --no-deps --upgrade --output-file requirements-deepspeed.lock

COMPILE := pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
    --no-header --no-emit-index-url --no-emit-find-links

check-lock: install ## Check that what is installed is what the lock files say
	$(BIN)/python .ci/check_lock.py requirements-build.lock requirements.lock

audit: ## Ask the OSV database for known weaknesses of all that is locked (needs the network)
	$(PYTHON) -m venv $(VENV)-tools
	$(VENV)-tools/bin/pip install --quiet pip-audit
	grep '^torch==' constraints.txt > $(VENV)-tools/torch.txt
	$(VENV)-tools/bin/pip-audit --strict --vulnerability-service osv --disable-pip --no-deps \
	    -r requirements-build.lock -r requirements.lock -r requirements-deepspeed.lock -r $(VENV)-tools/torch.txt

benchmarks: install ## Run the speed comparisons on the CPU (about 20 minutes)
	$(BIN)/python examples/benchmarks/pretraining_throughput.py --steps 3 --warmup 1
	$(BIN)/python examples/benchmarks/encode_speed.py --count 600
	$(BIN)/python examples/benchmarks/packing.py
	$(BIN)/python examples/benchmarks/network_embedding.py --scale 0.2
	$(BIN)/python examples/benchmarks/scaling.py --factors 1 4 16

clean: ## Remove what was made, but for runs/
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-tools build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
