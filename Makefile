# The habits of this repository. `make help` lists them; two of them are all a newcomer needs: `make run`, `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.synced-$(shell cat requirements/dev.txt pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)
WORKERS ?= 2
COMPILE = .venv-tools/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  $(if $(UPGRADE),--upgrade-package $(UPGRADE))

.PHONY: help sync run test check fmt lint types imports proto proto-check lock unit integration sim mutations chaos chaos-members power bench e2e manifest image operator-image clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Sybline needs Python 3.11 or newer; $$($(PYTHON) --version) is too old. Set PYTHON=…"; exit 1; }
	@echo "installing the locked requirements into .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f .venv/.synced-* && touch $@

sync: $(STAMP)  ## install everything into .venv, from the hashed lock

run: sync  ## three members on loopback: shows a publish, a killed leader and a consume, then serves until Ctrl-C
	@exec $(BIN)/sybline dev --members 3 --data-dir dev_data --demo

test: check unit integration  ## everything that must pass before a commit (at most 12 minutes on 2 cores)

check: lint types imports proto-check  ## formatting, lint, types, import contracts, generated code

fmt: sync  ## format the code and mend what can be mended
	$(BIN)/ruff check --fix-only . && $(BIN)/ruff format .

lint: sync
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: sync
	$(BIN)/mypy

imports: sync
	$(BIN)/lint-imports

proto: sync  ## regenerate the code of the wire contracts
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=broker/src --pyi_out=broker/src \
	  --grpc_python_out=broker/src $$(find proto -name '*.proto')

proto-check: proto
	git diff --exit-code -- broker/src/sybline/v1

.venv-tools/.synced: requirements/lock.txt
	@$(PYTHON) -m venv .venv-tools
	@.venv-tools/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/lock.txt
	@touch $@

lock: .venv-tools/.synced  ## resolve the requirements again; what still fits stays as it is (UPGRADE=name: raise one)
	for extra in broker operator; do $(COMPILE) --extra $$extra pyproject.toml -o requirements/$$extra.txt || exit 1; done
	$(COMPILE) --all-extras --group dev pyproject.toml -o requirements/dev.txt
	for group in build lock; do $(COMPILE) --group $$group -o requirements/$$group.txt || exit 1; done

unit: sync  ## tests without processes: unit, property, replay, simulation
	$(BIN)/pytest -n $(WORKERS) -m "not integration and not kubernetes" --durations=10

integration: sync  ## tests with real processes on loopback
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m integration --durations=10

sim: sync  ## simulator: N=runs (default 1000), SEED=one seed to reproduce, CONFIG=name, JOBS=n
	$(BIN)/python -m tests.simulation.run $(if $(SEED),--seed $(SEED) --runs 1,--runs $(or $(N),1000)) $(if $(CONFIG),--config $(CONFIG)) \
	  $(if $(VIRTUAL_S),--seconds $(VIRTUAL_S)) $(if $(JOBS),--jobs $(JOBS))

mutations: sync  ## switch off each safety rule and see that the simulator finds it
	$(BIN)/python -m tests.simulation.mutations

chaos: sync  ## real processes under SIGKILL, SIGSTOP and partitions, with the checker
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS))

chaos-members: sync  ## members come and go by the operator's commands while others are killed, with the checker
	$(BIN)/python -m tests.chaos.membership $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS))

power: sync  ## as chaos, and whoever is killed loses what it had not synced; every second time all members
	$(BIN)/python -m tests.chaos --power-loss $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS))

bench: sync  ## throughput, latency, failover and memory beside raw limits of the same run
	$(BIN)/python -m tests.bench

E2E = $(BIN)/python -m tests.e2e.cluster run $(if $(KEEP),--keep) --limit-s $(or $(LIMIT_S),$(if $(LONG),14400,1800)) -- $(MAKE) --no-print-directory

e2e: sync  ## on a real Kubernetes: KUBECONFIG's, else kind, else ../shared/cluster; LONG=1: all of it, KEEP=1: leaves it running
	$(E2E) e2e-here

e2e-crash: LONG = 1
e2e-crash: sync  ## the operator killed at every step of every workflow; as e2e, ONLY=regular expression
	$(E2E) e2e-crash-here

e2e-down: sync  ## end what e2e with KEEP=1 left running
	$(BIN)/python -m tests.e2e.cluster down

e2e-here:  # with KUBECONFIG and SYBLINE_E2E_… set
	$(BIN)/python -m tests.e2e.readme
	$(BIN)/pytest -m kubernetes --durations=5
	$(BIN)/python -m tests.e2e $(if $(SEED),--seed $(SEED)) $(if $(LONG),--long) --report build/e2e/report.md

e2e-crash-here:
	$(BIN)/python -m tests.e2e.crash_matrix --image $(or $(SYBLINE_E2E_IMAGE),sybline:$(TAG)) $(if $(ONLY),--only '$(ONLY)')

manifest: sync  ## write what is generated from the resource definition and the charts (needs helm)
	$(BIN)/python -m charts.generate

TAG ?= 0.1.0

image:  ## build the broker's image (needs a Docker engine), TAG=0.1.0
	docker build -f broker/Dockerfile -t sybline:$(TAG) .

operator-image:  ## build the operator's image (needs a Docker engine), TAG=0.1.0
	docker build -f operator/Dockerfile -t sybline-operator:$(TAG) .

clean:  ## remove what the targets made, data of `make run` included
	rm -rf .venv .venv-tools dev_data build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
