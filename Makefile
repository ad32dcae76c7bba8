# Every target of the project. `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
JOBS   ?= 2
PACKAGES := libs/contracts libs/runtime libs/graph libs/client libs/devstack libs/testkit libs/toolhost \
            services/gateway services/orchestrator services/tool-dispatcher services/model-router services/memory services/feedback

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test unit fuzz integration e2e e2e-compose images compose-up compose-down chaos soak bench check chart-check lint types layers proto-check fmt proto proto-release readme lock clean

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

test: $(STAMP) ## run every test; those in containers wherever a Docker engine answers
	@docker info >/dev/null 2>&1 || echo "no Docker engine answers here: the tests of tests/containers are not collected"
	@$(BIN)/pytest -n $(JOBS) --dist loadgroup

unit: $(STAMP) ## run the tests that need no server
	@$(BIN)/pytest -n $(JOBS) libs/*/tests/unit services/*/tests/unit deploy/agents/tests deploy/tools/tests

fuzz: $(STAMP) ## run the property tests with examples they have not seen before
	@$(BIN)/pytest -n $(JOBS) --hypothesis-profile=explore -m hypothesis libs/*/tests/unit services/*/tests/unit deploy/agents/tests deploy/tools/tests

integration: $(STAMP) ## run the tests of one service with real servers
	@$(BIN)/pytest -n $(JOBS) libs/*/tests/integration services/*/tests/integration

e2e: $(STAMP) ## run the tests that cross the whole mesh, as processes and in containers
	@$(BIN)/pytest tests/e2e tests/containers

e2e-compose: $(STAMP) ## run the tests in containers on a mesh that docker compose has started
	@PLIMSOLL_FLEET=compose $(BIN)/pytest tests/containers

images: ## build the images of the services; on hosts that cannot pull, those of base and servers too
	@deploy/images/build

chart-check: $(STAMP) ## check the Helm chart: lint, rendering, Kubernetes' own schemas
	@test -x .plimsoll/chart/bin/python || $(PYTHON) -m venv .plimsoll/chart
	@$(BIN)/uv pip sync --quiet --python .plimsoll/chart/bin/python --require-hashes deploy/helm/requirements.lock
	@.plimsoll/chart/bin/python deploy/helm/check.py

compose-up: $(STAMP) images ## start the whole mesh in containers, and show where it is
	@$(BIN)/plimsoll secrets deploy/secrets
	@docker compose --file deploy/compose.yaml up --detach --wait
	@echo "REST on http://127.0.0.1:8080, gRPC on 127.0.0.1:8081; the first API key: docker compose -f deploy/compose.yaml exec gateway cat /var/lib/plimsoll/api-key"

compose-down: ## stop it; its data stays in volumes
	@docker compose --file deploy/compose.yaml down --timeout 30

chaos: $(STAMP) ## a workload under kills and faults for SECONDS (900), then every promise examined; SEED=1 RUNS=10000
	@$(BIN)/pytest -q -s tests/chaos --chaos-seconds $(or $(SECONDS),900) --chaos-runs $(or $(RUNS),10000) --chaos-seed $(or $(SEED),1)

soak: $(STAMP) ## mixed load with faults for SECONDS (3600), and what grows meanwhile; then a whole audit
	@$(BIN)/pytest -q -s tests/chaos --soak-seconds $(or $(SECONDS),3600)

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
