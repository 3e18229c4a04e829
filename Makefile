# `make help` lists all targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell .ci/choose-python)
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
AUDIT := .venv-audit
SITE := .venv-docs
COLLECTION := docs/postman/opsera-portal.postman_collection.json
CLIENTS := opsera_portal/tests/clients
LIGHTHOUSE := benchmarks/lighthouse
# Checks need no data, so they use a data directory of their own.
CHECKED = PORTAL_DATA_DIR=$(CURDIR)/$(VENV)/checks SECRET_KEY=$$(printf 'checks-only-%.0s' 1 2 3 4 5 6) $(BIN)/python manage.py
DEMO ?= 1
# Compiled code is kept: without it, each of the processes that the checks start compiles all of it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List all targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

.PHONY: run
run: $(VENV)/.runtime ## Set everything up and start the portal (DEMO=0: without demo data)
	@exec $(BIN)/python manage.py serve $(if $(filter-out 0,$(DEMO)),--demo)

# PostgreSQL on its default local port, or at TEST_DATABASE_URL.
POSTGRESQL = DATABASE_URL="$${TEST_DATABASE_URL:-postgres://postgres@127.0.0.1:5432/postgres}"
HAS_POSTGRESQL = (exec 3<>/dev/tcp/127.0.0.1/5432) 2>/dev/null
# Number of test processes. One more than two cores, because tests also wait: for a browser, or for a deadline.
WORKERS ?= 3

.PHONY: quick
quick: $(VENV)/.development ## Run the unit tests on SQLite in about a minute, without requests, a browser and other programs
	@$(BIN)/pytest -n $(WORKERS) -m "not (http or slow or browser or integration)"

.PHONY: test
test: ## Set everything up and run every check (on PostgreSQL only tests that can differ there)
	@$(MAKE) --no-print-directory --jobs 4 setup
	@$(MAKE) --no-print-directory checks

.PHONY: test-all
test-all: ## Like `make test`, but run every test on PostgreSQL too
	@$(MAKE) --no-print-directory --jobs 4 setup
	@$(MAKE) --no-print-directory checks ON_POSTGRESQL="not once" MARKED_FILES=

.PHONY: setup
setup: $(VENV)/.development programs newman clients ## Install everything for the checks, without running them

# Lint runs at the same time as the tests on SQLite; its output is shown after theirs. The tests on PostgreSQL come after
# them: more processes at the same time than cores slow each other down by a seventh.
.PHONY: checks
checks:
	@$(MAKE) --no-print-directory lint > $(VENV)/lint.txt 2>&1 & lint=$$!; \
	trap 'kill $$lint 2> /dev/null' INT TERM; \
	echo "== Tests on SQLite"; $(BIN)/pytest -n $(WORKERS); on_sqlite=$$?; \
	wait $$lint; is_clean=$$?; cat $(VENV)/lint.txt; \
	$(MAKE) --no-print-directory on-postgresql; on_postgresql=$$?; \
	[ $$on_sqlite = 0 ] && [ $$is_clean = 0 ] && [ $$on_postgresql = 0 ]

ON_POSTGRESQL = each_database and not once
# Only these files have such tests. Collecting the other files takes seconds.
MARKED_FILES = $(shell grep -lE 'each_database|transaction=True' */tests/test_*.py)
.PHONY: on-postgresql
on-postgresql: $(VENV)/.development
	@if $(HAS_POSTGRESQL); then \
	  echo "== Tests on PostgreSQL"; $(POSTGRESQL) $(BIN)/pytest -n $(WORKERS) -m "$(ON_POSTGRESQL)" $(MARKED_FILES); \
	else echo "== Tests on PostgreSQL: skipped, nothing answers on 127.0.0.1:5432"; fi

.PHONY: coverage
coverage: ## Run the tests on both databases and measure branch coverage
	@$(MAKE) --no-print-directory --jobs 4 setup
	@echo "== Tests on SQLite"; $(BIN)/pytest -n $(WORKERS) --cov --cov-report=
	@if $(HAS_POSTGRESQL); then \
	  echo "== Tests on PostgreSQL"; $(POSTGRESQL) $(BIN)/pytest -n $(WORKERS) -m "$(ON_POSTGRESQL)" $(MARKED_FILES) --cov --cov-append --cov-report=; \
	fi
	@$(BIN)/coverage report

.PHONY: lint
lint: $(VENV)/.development ## Check style, types, templates and Django's own checks, without tests
	@echo "== Style"; $(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .
	@echo "== Types"; $(BIN)/mypy --no-error-summary .
	@echo "== Templates"; $(BIN)/djlint --quiet --check --lint templates || { $(BIN)/djlint --check --lint templates; exit 1; }
	@$(BIN)/python .ci/django_checks.py

# Not part of `make test`, because it needs the network, and a vulnerability that was published today must not break a build.
.PHONY: audit
audit: $(AUDIT)/.installed ## Look up the pinned versions in databases of known vulnerabilities
	@$(AUDIT)/bin/python .ci/audit.py $(AUDIT)/bin/pip-audit \
	  requirements.txt requirements-dev.txt benchmarks/requirements.txt docs/requirements.txt .ci/requirements-audit.txt

$(AUDIT)/.installed: .ci/requirements-audit.txt | $(BIN)/python
	@echo "Installing the packages for the audit ..."
	@$(BIN)/python -m venv $(AUDIT)
	@.ci/install-packages $(AUDIT) $<
	@touch $@

# Debian's Chromium, nginx and PgBouncer. If they can't be installed without root, the tests that need them are skipped and
# say why.
.PHONY: programs
programs:
	@.ci/install-programs

# Postman's own runner, if node is installed. Otherwise the test that needs it is skipped and says so.
.PHONY: newman
newman: $(if $(shell command -v npm),docs/postman/node_modules/.installed)

docs/postman/node_modules/.installed: docs/postman/package-lock.json
	@echo "Installing newman ..."
	@cd docs/postman && npm ci --silent --no-audit --no-fund
	@touch $@

# Redocly, Spectral and a generator of TypeScript clients, if node is installed. Otherwise the tests that need them are
# skipped and say so.
.PHONY: clients
clients: $(if $(shell command -v npm),$(CLIENTS)/node_modules/.installed)

$(CLIENTS)/node_modules/.installed: $(CLIENTS)/package-lock.json
	@echo "Installing tools for the API schema ..."
	@cd $(CLIENTS) && npm ci --silent --no-audit --no-fund
	@touch $@

# The pages are copies in the same places as in the repository, so that links between documents work on the site too.
.PHONY: docs
docs: $(SITE)/.installed diagrams ## Build the documentation site in site/
	@rm -rf $(SITE)/pages && mkdir -p $(SITE)/pages/assets
	@cp -r --parents *.md docs/*.md docs/guides docs/pictures docs/*.svg docs/postman/*.postman_collection.json deploy $(SITE)/pages
	@cp $(MERMAID) $(SITE)/pages/assets/mermaid.js 2> /dev/null || { \
	  echo "Diagrams are shown as text: drawing them needs node and npm."; \
	  cp docs/diagrams/as-text.js $(SITE)/pages/assets/mermaid.js; }
	@$(SITE)/bin/zensical build --clean --strict
	@echo "The site is in site/index.html. make docs-serve shows it with search."

.PHONY: docs-serve
docs-serve: docs ## Build the documentation site and serve it on http://localhost:8001
	@$(SITE)/bin/python -m http.server --bind 127.0.0.1 --directory site 8001

$(SITE)/.installed: docs/requirements.txt | $(BIN)/python
	@echo "Installing the packages for the documentation site ..."
	@$(BIN)/python -m venv $(SITE)
	@.ci/install-packages $(SITE) $<
	@touch $@

# Draws the diagrams of the site, if node is installed. Otherwise the site shows them as text.
MERMAID := docs/diagrams/node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js
.PHONY: diagrams
diagrams: $(if $(shell command -v npm),docs/diagrams/node_modules/.installed)

docs/diagrams/node_modules/.installed: docs/diagrams/package-lock.json
	@echo "Installing mermaid ..."
	@cd docs/diagrams && npm ci --silent --no-audit --no-fund
	@touch $@

.PHONY: format
format: $(VENV)/.development ## Format code and templates
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet . ; $(BIN)/djlint --quiet --reformat templates

.PHONY: crash
crash: $(VENV)/.runtime ## Kill the portal under load on each database, and check that each answered request is in the log
	@$(BIN)/python -m auditlog.tests.crash $(OPTIONS)
	@if (exec 3<>/dev/tcp/127.0.0.1/5432) 2>/dev/null; then \
	  DATABASE_URL="$${TEST_DATABASE_URL:-postgres://postgres@127.0.0.1:5432/postgres}" $(BIN)/python -m auditlog.tests.crash $(OPTIONS); \
	else echo "PostgreSQL: skipped, nothing answers on 127.0.0.1:5432"; fi

.PHONY: screenshots
screenshots: $(VENV)/.development programs ## Take pictures: all pages into build/gallery, those in docs/, and the accepted ones of the tests (PARTS="story": only these)
	@$(BIN)/python docs/make_screenshots.py $(PARTS)

# Not part of `make test`: it takes minutes, and Lighthouse's performance needs a machine that is not busy.
.PHONY: quality
quality: $(VENV)/.development programs lighthouse ## Measure accessibility, weight, Lighthouse's scores and translations, and write them into docs/quality.md
	@$(BIN)/python -m benchmarks.quality $(PARTS)

.PHONY: lighthouse
lighthouse: $(if $(shell command -v npm),$(LIGHTHOUSE)/node_modules/.installed)

$(LIGHTHOUSE)/node_modules/.installed: $(LIGHTHOUSE)/package-lock.json
	@echo "Installing Lighthouse ..."
	@cd $(LIGHTHOUSE) && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

.PHONY: postman
postman: $(VENV)/.development ## Update the Postman collection from the OpenAPI schema
	$(BIN)/python manage.py postman_collection --output docs/postman/opsera-portal.postman_collection.json

# On SQLite and, if it answers on its default local port, on PostgreSQL. Example: OPTIONS="--only sqlite --markdown". Each
# benchmark lists its options with --help.
.PHONY: bench
bench: $(BENCH)/.installed wrk ## Run all benchmarks, and write their tables into docs/performance.md (takes hours; PARTS="token_path memory": only these)
	@$(BENCH)/bin/python -m benchmarks.document $(PARTS)

.PHONY: bench-tokens
bench-tokens: $(BENCH)/.installed wrk ## Measure the cost of a checked and logged API request, compared with five other ways
	@$(BENCH)/bin/python -m benchmarks.token_path $(OPTIONS)

.PHONY: bench-verify
bench-verify: $(BENCH)/.installed wrk ## Measure the check of requests to services, nginx with and without it, and a status list of a million tokens
	@$(BENCH)/bin/python -m benchmarks.verify $(OPTIONS)

.PHONY: bench-quick
bench-quick: $(BENCH)/.installed wrk ## Measure the same roughly, in less than two minutes
	@$(BENCH)/bin/python -m benchmarks.token_path --quick $(OPTIONS)

.PHONY: bench-memory
bench-memory: $(BENCH)/.installed ## Measure the memory of one web process after 100,000 requests
	@$(BENCH)/bin/python -m benchmarks.memory $(OPTIONS)

.PHONY: bench-logs
bench-logs: $(BENCH)/.installed ## Measure logs with 5 and 20 million entries to the end (hours; goes on where it was interrupted)
	@$(BENCH)/bin/python -m benchmarks.logs $(OPTIONS)

.PHONY: bench-partitions
bench-partitions: $(BENCH)/.installed ## Compare the log in one table with the log in a partition for each month, on PostgreSQL
	@$(BENCH)/bin/python -m benchmarks.partitions $(OPTIONS)

.PHONY: bench-search
bench-search: $(BENCH)/.installed ## Measure what an index for the free-text search of the log would give and cost
	@$(BENCH)/bin/python -m benchmarks.text_search $(OPTIONS)

.PHONY: bench-pages
bench-pages: $(BENCH)/.installed ## Measure queries, processor time and bytes of every page (OPTIONS=--big: of a big organization)
	@$(BENCH)/bin/python -m benchmarks.pages $(OPTIONS)

.PHONY: bench-rules
bench-rules: $(VENV)/.runtime ## Measure the cost of access rules
	@$(BIN)/python benchmarks/access_rules.py
	@if (exec 3<>/dev/tcp/127.0.0.1/5432) 2>/dev/null; then \
	  DATABASE_URL="$${TEST_DATABASE_URL:-postgres://postgres@127.0.0.1:5432/postgres}" $(BIN)/python benchmarks/access_rules.py; \
	fi

.PHONY: wrk
wrk:
	@command -v wrk > /dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    echo "Installing wrk ..."; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends wrk > /dev/null; \
	  else echo "The benchmark needs wrk: apt-get install wrk"; exit 1; fi; }

.PHONY: tables
tables: $(VENV)/.development ## Update the generated tables in docs/: permissions, settings, commands
	@$(CHECKED) permission_tables docs/roles-and-rules.md
	@$(CHECKED) settings_table docs/settings.md
	@$(CHECKED) commands_table docs/commands.md

.PHONY: messages
messages: $(VENV)/.development ## Bring the translations in locale/ up to date with the texts in the code (needs GNU gettext)
	@$(CHECKED:manage.py=.ci/make_messages.py)

.PHONY: lock
lock: $(VENV)/.development ## Pin the packages in requirements*.in
	@for file in requirements requirements-dev benchmarks/requirements docs/requirements .ci/requirements-audit .ci/requirements-uv; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	    --python-version 3.11 $$file.in -o $$file.txt || exit 1; \
	done

.PHONY: clean
clean: ## Remove the virtual environments and generated files, but not the data directory
	rm -rf $(VENV) $(BENCH) $(AUDIT) $(SITE) site .cache staticfiles docs/postman/node_modules docs/diagrams/node_modules $(CLIENTS)/node_modules $(LIGHTHOUSE)/node_modules build .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "The portal needs Python 3.11 or newer. Choose one with PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "Python's venv is missing: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	@echo "Installing the portal's packages ..."
	@.ci/install-packages $(VENV) requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	@echo "Installing the packages for the checks ..."
	@.ci/install-packages $(VENV) requirements-dev.txt
	@touch $@

# Benchmarks have a virtual environment of their own, so that the portal can't depend on the libraries it is compared with.
$(BENCH)/.installed: requirements.txt benchmarks/requirements.txt | $(BIN)/python
	@echo "Installing the packages for the benchmarks ..."
	@$(BIN)/python -m venv $(BENCH)
	@.ci/install-packages $(BENCH) requirements.txt benchmarks/requirements.txt
	@touch $@
