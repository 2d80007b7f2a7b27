# Everything below makes its own virtual environment in .venv; only Python 3.11+ is needed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: help demo test check prove docs house clean

help:  ## show this
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tiebreak needs Python 3.11 or newer; give PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)  ## the Arizona study in miniature: 36 runs, table, figures, page (about 13 minutes)
	$(BIN)/tiebreak study demo

test: check  ## style, types, import contracts, then the tests (under 10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)  ## style, types and import contracts alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check
	$(BIN)/lint-imports

prove: $(READY)  ## the slow proofs that CI does not run
	$(BIN)/python -m pytest -m slow

docs: $(READY)  ## make docs/methods and docs/metrics.md again, from the code
	rm -rf docs/methods
	$(BIN)/tiebreak methods --docs docs/methods
	$(BIN)/python -c 'from tiebreak.metrics import metrics_page; print(end=metrics_page())' \
		> docs/metrics.md

house: $(READY)  ## lines, files, import cycles and storeys of the code
	$(BIN)/python benchmarks/house.py

clean:  ## remove the environment and caches; runs and artefacts stay
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis
