# Everything needs Python >= 3.11, make and the package indexes; the rest is installed into .venv.
.DEFAULT_GOAL := help
.PHONY: help install up demo test quick check format bench clean

PYTHON ?= python3
PY := .venv/bin/python
ARGS ?=

# Half as many again as there are processors: a test often waits, for PostgreSQL or for a process of its own.
WORKERS ?= $(shell expr 3 '*' $$(getconf _NPROCESSORS_ONLN) / 2)

# Networks that look into TLS have their certificate in the system's store, where uv looks only when it is told.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= 1
endif

help: ## What there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.installed ## Install everything into .venv (the other targets do so by themselves)
	@:

.venv/.installed: uv.lock pyproject.toml deploy/bootstrap.py
	@$(PYTHON) deploy/bootstrap.py

up: install ## Run everything on this machine; ARGS="--port 9000" hands options on
	@$(PY) -m intake.cli up $(ARGS)

demo: install ## A simulated Stripe and a company at work; ARGS="--chaos" breaks things, ARGS="--once" ends by itself
	@$(PY) -m intake.cli demo $(ARGS)

test: install ## The whole test suite, on embedded servers of its own
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term:skip-covered $(ARGS)

quick: install ## The tests without the slow ones, which start and kill whole process trees
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal -m "not slow" $(ARGS)

check: install ## Format, lint, types, import rules, dependencies, dead code, lock file
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .
	@.venv/bin/basedpyright
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/deptry .
	@.venv/bin/vulture
	@.venv/bin/uv lock --check --quiet

format: install ## Put the code into its form
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

bench: install ## Measure: ratios and CPU per event, taken in one run
	@for file in tests/bench/bench_*.py; do echo "== $$file"; $(PY) $$file || exit 1; done

clean: ## Remove what was installed and cached; BILLING_HOME stays
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache /dev/shm/billing-test-*
