# Bare `make` lists the targets. What they need, beyond python3 (3.11 or newer), pip, make and git, they bring.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test check bench services-install services-up services-down lock clean

BIN := .venv/bin
# `make PYTHON=/path/to/python3.13` chooses the interpreter of .venv; else the first one that fits is taken.
PYTHON ?=
# pytest's own options: `make test PYTEST="-k elasticsearch -x"`
PYTEST ?=
# Processes that share the tests; with 0 there is one, which can be looked into (`PYTEST="--pdb"`).
WORKERS ?= 2

help:
	@awk -F ': .*## |:.*## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' Makefile

demo: .venv/.ready ## take a snapshot of a bundled incident and show it
	@$(BIN)/problem-snapshot demo

test: .venv/.ready ## run all tests; services that cannot be brought are skipped by name and count
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) $(PYTEST)

check: .venv/.ready ## lint, format, types, and which package may import which
	@rc=0; \
	$(BIN)/ruff check --quiet --output-format concise . || rc=1; \
	$(BIN)/ruff format --check --quiet --output-format concise . || { echo "badly formatted; run: $(BIN)/ruff format ."; rc=1; }; \
	$(BIN)/mypy --no-error-summary cli.py pipeline parsers snapshots || rc=1; \
	$(BIN)/python -m pytest -q tests/test_architecture.py || rc=1; \
	[ $$rc -eq 0 ] && echo "check: all good" || echo "check: failed"; exit $$rc

bench: .venv/.ready ## run the benchmarks, one after another
	@for script in benchmarks/[!_]*.py; do \
	  [ -e "$$script" ] || { echo "no benchmark in benchmarks/"; break; }; \
	  echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

services-install: .venv/.ready ## install what the test services need (as root on Debian; downloads Elasticsearch and Spark, builds Jaeger)
	@$(BIN)/python -m tests.services install

services-up: .venv/.ready ## start Elasticsearch, PostgreSQL, MariaDB, Jaeger, Request Tracker, django-helpdesk and Redmine for use by hand, and print their addresses
	@$(BIN)/python -m tests.services up

services-down: .venv/.ready ## stop what services-up started, and delete its data
	@$(BIN)/python -m tests.services down

# No --index-url and no --find-links are written, so the locks hold names, versions and hashes only.
LOCK = $(BIN)/uv pip compile pyproject.toml --upgrade --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet

lock: .venv/.ready ## make the locks anew: the newest versions that pyproject.toml allows
	@$(LOCK) --output-file requirements.lock
	@$(LOCK) --group dev --constraint requirements.lock --output-file requirements-dev.lock
	@echo "requirements.lock requirements-dev.lock: `grep -c '^[a-z].*==' requirements-dev.lock` packages"

clean: ## delete everything that was made here, .venv and the test services too
	@[ ! -x $(BIN)/python ] || $(BIN)/python -m tests.services down --quiet || true
	@rm -rf .venv .venv-rivals build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache tests/services/elasticsearch/target tests/services/jaeger-target tests/services/helpdesk-target tests/services/prism-target tests/services/spark-target
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. It is filled anew when a lock or pyproject.toml changes; otherwise this takes no time. Beam has no
# wheels for Python 3.15 yet, so an older interpreter goes first. Where python3 lacks ensurepip (Debian without
# python3-venv) the environment is made without pip, and the outer pip fills it.
.venv/.ready: requirements-dev.lock pyproject.toml
	@set -e; python=; \
	for below in 15 99; do \
	  for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	    [ -z "$$python" ] || break; \
	    "$$candidate" -c "import sys; sys.exit(sys.implementation.name != 'cpython' \
	      or not (3, 11) <= sys.version_info < (3, $$below))" 2> /dev/null && python=$$candidate || true; \
	  done; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: found no python3 (CPython) of 3.11 or newer; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	echo "filling .venv with $$python (once; about a minute)" >&2; \
	log=`mktemp`; trap 'rm -f "$$log"' EXIT; trap 'exit 130' INT TERM; \
	{ \
	  { $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { rm -rf .venv; "$$python" -m venv .venv; } \
	    || "$$python" -m venv --clear --without-pip .venv; } \
	  && if $(BIN)/python -m pip --version; then pip="$(BIN)/python -m pip"; \
	     else pip="$$python -m pip --python $(BIN)/python"; fi \
	  && $$pip install --no-input --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock \
	  && $$pip install --no-input --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	} > "$$log" 2>&1 || { tail -n 30 "$$log" >&2; echo "make: .venv could not be filled; the lines above say why" >&2; exit 1; }; \
	touch $@
