# Gambrel: `make demo` shows the whole tour, `make test` runs the tests. Both make the environment in .venv first.

# the first Python from 3.11 to 3.13 that runs; `make PYTHON=/path/to/python demo` chooses one
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint bench readme accuracy parameters headline power training-fit serving-fit comparisons claims examples site reliability inference-fit
.DEFAULT_GOAL := demo

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Gambrel needs Python 3.11, 3.12 or 3.13. Install one, or give its path: make PYTHON=..." >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo 'installing into .venv (once; a minute or two)' >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## train, serve, explain: the whole tour, in under a minute
	@$(BIN)/gambrel demo

test: $(STAMP)  ## every test
	@$(BIN)/python -m pytest

lint: $(STAMP)  ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(STAMP)  ## how fast Gambrel itself is on this machine
	@$(BIN)/python benchmarks/run_all.py

readme: $(STAMP)  ## put the demo's output into README.md
	@$(BIN)/python docs/first_minute.py

accuracy: $(STAMP)  ## docs/accuracy.md and its images from the shipped measurements, or DATA=folder; takes minutes
	@$(BIN)/python docs/accuracy_page.py $(DATA)

power: $(STAMP)  ## what devices draw, refitted to the power table DATA=file
	@$(BIN)/python docs/fit_power.py $(DATA)

training-fit: $(STAMP)  ## the numbers of training in devices/, refitted to the tables of training runs in DATA=folder
	@$(BIN)/python docs/fit_training.py $(DATA)

serving-fit: $(STAMP)  ## the numbers of serving in devices/, refitted to closed-loop runs in DATA=file
	@$(BIN)/python docs/fit_serving.py $(DATA)

comparisons: $(STAMP)  ## how sure `whatif` is: devices/comparisons.yaml from the tables of runs in DATA=folder
	@$(BIN)/python docs/fit_comparisons.py $(DATA)

inference-fit: $(STAMP)  ## the numbers of published inference results in devices/, refitted to those in DATA=file
	@$(BIN)/python docs/fit_inference.py $(DATA)

headline: $(STAMP)  ## docs/accuracy.json: the errors that a test holds
	@$(BIN)/python docs/accuracy_page.py --headline

parameters: $(STAMP)  ## docs/parameters.md from the declared parameters and the families' calibrations
	@$(BIN)/python docs/parameters_page.py

claims: $(STAMP)  ## docs/claims.md and its images: every public claim derived again
	@$(BIN)/python docs/claims_page.py

reliability: $(STAMP)  ## docs/reliability.md: broken files, kills, full disks, determinism, a soak; hours, and goes on where it stopped; FAST=1: minutes
	@$(BIN)/python -m benchmarks.reliability $(if $(FAST),--fast)

examples: $(STAMP)  ## what the commands of the documents print, written into them
	@$(BIN)/python docs/examples.py

site: $(STAMP)  ## the documents as a site in build/site, and docs/llms.txt
	@$(BIN)/python docs/site.py
