# The habits of this repository. `make help` lists them; two of them are all a newcomer needs: `make run`, `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.synced-$(shell cat requirements/dev.txt pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)
WORKERS ?= 2

.PHONY: help sync run test check fmt lint types imports proto proto-check lock unit integration sim mutations chaos chaos-members power bench e2e image operator-image clean

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

lock:  ## resolve the requirements again (needs uv)
	for extra in broker operator; do uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --extra $$extra pyproject.toml -o requirements/$$extra.txt; done
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --all-extras \
	  --group dev pyproject.toml -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --group build -o requirements/build.txt

unit: sync  ## tests without processes: unit, property, replay, simulation
	$(BIN)/pytest -n $(WORKERS) -m "not integration and not kubernetes" --durations=10

integration: sync  ## tests with real processes on loopback
	$(BIN)/pytest -m integration --durations=10

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

e2e: sync  ## on a real Kubernetes cluster (KUBECONFIG, images loaded): API tests, then a life under load; LONG=1: all of it
	$(BIN)/pytest -m kubernetes --durations=5
	$(BIN)/python -m tests.e2e --image $(or $(IMAGE),sybline:dev) --operator-image $(or $(OPERATOR_IMAGE),sybline-operator:dev) \
	  $(if $(SEED),--seed $(SEED)) $(if $(LONG),--long)

image:  ## build the broker's image (needs a Docker engine)
	docker build -f broker/Dockerfile -t sybline:dev .

operator-image:  ## build the operator's image (needs a Docker engine)
	docker build -f operator/Dockerfile -t sybline-operator:dev .

clean:  ## remove what the targets made, data of `make run` included
	rm -rf .venv dev_data build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
