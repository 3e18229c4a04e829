# `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= 1

.PHONY: help
help: ## List what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

.PHONY: run
run: $(VENV)/.runtime ## Set everything up and serve the portal (DEMO=0: start empty)
	@exec $(BIN)/python manage.py serve $(if $(filter-out 0,$(DEMO)),--demo)

.PHONY: test
test: $(VENV)/.development ## Set everything up and run every check
	@deploy/checks.sh

.PHONY: lint
lint: $(VENV)/.development ## Style, types, templates and Django's own checks, without the tests
	@deploy/checks.sh lint

.PHONY: format
format: $(VENV)/.development ## Bring code and templates into form
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet . ; $(BIN)/djlint --quiet --reformat templates

.PHONY: screenshots
screenshots: $(VENV)/.development ## Make docs/tokens-page.png anew
	$(BIN)/python docs/make_screenshots.py

.PHONY: postman
postman: $(VENV)/.development ## Make the Postman collection anew from the OpenAPI schema
	$(BIN)/python manage.py postman_collection --output docs/postman/opsera-portal.postman_collection.json

.PHONY: lock
lock: $(VENV)/.development ## Pin what requirements*.in ask for
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --python-version 3.11 requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --python-version 3.11 requirements-dev.in -o requirements-dev.txt

.PHONY: clean
clean: ## Remove the virtual environment and what was made; the data directory stays
	rm -rf $(VENV) staticfiles docs/postman/node_modules .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "The portal needs Python 3.11 or newer; choose one with PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "Python's venv is missing: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	@echo "Installing what the portal needs ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing what the checks need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
