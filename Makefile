# Everything runs in .venv, which is made on the first call.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --quiet --disable-pip-version-check
RUN := $(BIN)/python -m mlm_jax
QUICK := --workdir=runs/quickstart
# Each test process takes a file at a time, of whose fixtures it makes one.
PROCESSES ?= 2
TEST := $(BIN)/python -m pytest --numprocesses=$(PROCESSES) --dist=loadfile

.PHONY: quickstart test test-fast test-beam test-tpu-compile lint format docs
.PHONY: dist clean

quickstart: .venv/installed
	@$(RUN) train --config=quickstart $(QUICK)
	@$(RUN) evaluate $(QUICK)
	@$(RUN) fill_mask $(QUICK) \
	  --text "Return the number of items in the [MASK]." \
	  --text "If the file does not [MASK], an exception is raised." \
	  --text "This module provides a [MASK] for reading and [MASK] files."
	@echo
	@echo "All of it is in runs/quickstart: config.json, tokenizer/, rows/,"
	@echo "checkpoints/, metrics.jsonl and tensorboard/. What to try next:"
	@echo "  $(RUN) fill_mask $(QUICK) --interactive"
	@echo "  $(RUN) export_hf $(QUICK) --out=runs/quickstart_hf"
	@echo "  $(RUN) train --config=quickstart --workdir=runs/mine \\"
	@echo "    --config.data.corpus='text:my/*.txt'"

test: .venv/installed-test
	@$(TEST)

test-fast: .venv/installed-test
	@$(TEST) -m "not slow and not tpu_compile"
	@echo "Left out: what '$(BIN)/python -m pytest -m slow --co' lists."

# A folder of its own: where libtpu is installed, JAX looks for a TPU.
test-tpu-compile: .venv/installed-test
	@test -d .venv/libtpu || $(PIP) --no-deps --target .venv/libtpu libtpu
	@PYTHONPATH=.venv/libtpu $(TEST) --dist=loadgroup -m tpu_compile

# A folder of its own: Beam takes older versions of what others need.
test-beam: .venv/installed-test
	@test -d .venv/beam || $(PIP) --target .venv/beam \
	  apache-beam 'sentencepiece<0.2.2'
	@PYTHONPATH=.venv/beam $(TEST) tests/data/test_beam.py

lint: .venv/installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: .venv/installed-test
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: .venv/installed
	@$(BIN)/python -m mlm_jax.config.reference > docs/keys.md

# What an earlier build left behind would go into the wheel.
dist: | .venv/bin/pip
	@rm -rf build dist
	@$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps \
	  --wheel-dir dist .
	@rm -rf build
	@ls dist/*.whl

clean:
	rm -rf .venv build dist *.egg-info

.venv/bin/pip:
	@echo "Making .venv"
	@$(PYTHON) -m venv .venv

.venv/installed: setup.py | .venv/bin/pip
	@echo "Installing mlm_jax and what it needs (a minute or two)"
	@$(PIP) --editable .
	@touch $@

.venv/installed-test: setup.py .venv/installed
	@echo "Installing what the tests need"
	@$(PIP) --editable '.[test]'
	@touch $@
