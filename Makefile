# Every target of the project. `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
JOBS   ?= 2
PACKAGES := libs/contracts libs/runtime libs/graph libs/client libs/devstack libs/testkit libs/toolhost \
            services/gateway services/orchestrator services/tool-dispatcher services/model-router services/memory services/feedback

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test unit fuzz integration e2e bench check lint types layers proto-check fmt proto proto-release readme lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make the environment in .venv, from the lock

$(STAMP): requirements.lock requirements-setup.lock $(addsuffix /pyproject.toml,$(PACKAGES))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Plimsoll needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Set PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: install Python's venv module (Debian: python3-venv)"; exit 1; }
	@echo "installing the locked dependencies into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-setup.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline $(addprefix -e ,$(PACKAGES))
	@touch $@

demo: $(STAMP) ## run the three example agents on their samples, from nothing
	@$(BIN)/plimsoll demo --agents deploy/agents

up: $(STAMP) ## start the whole mesh on this machine, with the example agents
	@$(BIN)/plimsoll up --agents deploy/agents --data .plimsoll

down: $(STAMP) ## stop it; its data stays
	@$(BIN)/plimsoll down --data .plimsoll

test: $(STAMP) ## run every test
	@$(BIN)/pytest -n $(JOBS) --dist loadgroup

unit: $(STAMP) ## run the tests that need no server
	@$(BIN)/pytest -n $(JOBS) libs/*/tests/unit services/*/tests/unit deploy/agents/tests deploy/tools/tests

fuzz: $(STAMP) ## run the property tests with examples they have not seen before
	@$(BIN)/pytest -n $(JOBS) --hypothesis-profile=explore -m hypothesis libs/*/tests/unit services/*/tests/unit deploy/agents/tests deploy/tools/tests

integration: $(STAMP) ## run the tests of one service with real servers
	@$(BIN)/pytest -n $(JOBS) libs/*/tests/integration services/*/tests/integration

e2e: $(STAMP) ## run the tests that cross the whole mesh
	@$(BIN)/pytest tests/e2e

bench: $(STAMP) ## run the benchmarks; ONLY=name runs one
	@$(BIN)/python tests/bench $(if $(ONLY),--only $(ONLY))

check: lint types layers proto-check test ## everything that has to hold before a change lands

lint: $(STAMP) ## check style (fix: make fmt)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## check types
	@$(BIN)/mypy $(addsuffix /src,$(filter-out libs/contracts,$(PACKAGES)))

layers: $(STAMP) ## check who imports whom
	@$(BIN)/lint-imports

proto-check: $(STAMP) ## check the contracts: style, and no break with the last release
	@$(BIN)/python proto/generate.py lint
	@$(BIN)/python proto/generate.py breaking

fmt: $(STAMP) ## format the code and fix what can be fixed
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

readme: $(STAMP) ## write the settings tables into the services' READMEs
	@$(BIN)/python tests/contract/readme_settings.py

proto: $(STAMP) ## generate the code of the contracts
	@$(BIN)/python proto/generate.py

proto-release: $(STAMP) ## record the present contracts as released
	@$(BIN)/python proto/generate.py release

lock: $(STAMP) ## lock the dependencies anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	  --group dev pyproject.toml -o requirements.lock --no-emit-package plimsoll-workspace $(foreach p,$(notdir $(PACKAGES)),--no-emit-package plimsoll-$(p))
	@echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header - -o requirements-setup.lock

clean: ## remove the environment and all data of the mesh
	@test ! -x $(BIN)/plimsoll || $(BIN)/plimsoll down --data .plimsoll >/dev/null 2>&1 || true
	rm -rf $(VENV) .plimsoll
