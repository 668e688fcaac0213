# `make` prints this list. PYTHON=python3.12 make … builds with another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := .run
FUZZ_SECONDS ?= 300
# DOCKER=podman does as well.
DOCKER ?= docker
COMPOSE := $(DOCKER) compose
SOURCES := pyproject.toml setup.py $(shell find fastlog tests/helpers -name '*.pyx' -o -name '*.pxd' -o -name '*.h')
# The pid of a server that `make run` started, if it still runs; a pid may have gone to another program.
SERVER_PID = $$(pid=$$(cat $(RUN)/pid 2>/dev/null) && tr '\0' ' ' < /proc/$$pid/cmdline 2>/dev/null | grep -q 'fastlog serve' && echo $$pid)

help:  ## this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "  make %-15s %s\n", $$1, $$2}' Makefile

run: build  ## start the server in the background, and say where it listens and writes
	@if [ -n "$(SERVER_PID)" ]; then echo "fastlog runs already:"; cat $(RUN)/messages; exit 0; fi; \
	mkdir -p $(RUN); \
	setsid $(BIN)/fastlog serve < /dev/null > $(RUN)/messages 2>&1 & echo $$! > $(RUN)/pid; \
	for i in $$(seq 200); do \
	  grep -q '^fastlog: ready ' $(RUN)/messages && break; \
	  [ -n "$(SERVER_PID)" ] || [ $$i -lt 20 ] || break; \
	  sleep 0.05; \
	done; \
	cat $(RUN)/messages; grep -q '^fastlog: ready ' $(RUN)/messages

stop:  ## end that server; it writes out what it has
	@pid=$(SERVER_PID); if [ -z "$$pid" ]; then echo "fastlog does not run"; exit 0; fi; \
	kill $$pid; while [ -n "$(SERVER_PID)" ]; do sleep 0.05; done; tail -n 1 $(RUN)/messages; rm $(RUN)/pid

client: build  ## send 20 sample entries to it
	$(BIN)/fastlog send --samples 20

loadtest: build  ## send 10,000 entries to it, 4 clients and 1,000 a second together, and account for each
	$(BIN)/fastlog loadtest --logs 10000 --clients 4 --rate 1000

logs:  ## follow its log file
	@log="$$(sed -n 's/^fastlog: ready .* log=//p' $(RUN)/messages)"; \
	$(BIN)/fastlog tail -f -n 20 --log-dir "$$(dirname "$$log")" --log-filename "$$(basename "$$log")"

build: $(VENV)/built  ## make .venv and compile

test: $(VENV)/dev  ## the whole test suite
	$(BIN)/pytest -n auto

fuzz: $(VENV)/dev  ## compare the scanner with its reference on two million cases
	FASTLOG_FUZZ_FACTOR=20 $(BIN)/pytest tests/unit/test_scanner_agrees.py -n auto --timeout 0

fuzz-native: build/fuzz/fuzz-fastlog  ## fuzz the scanner and the receive path under sanitizers, FUZZ_SECONDS for each part
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

kill: $(VENV)/dev  ## kill -9 the server under load, two hundred times
	FASTLOG_KILL_ROUNDS=200 $(BIN)/pytest tests/server/test_kill.py --timeout 0

docs: $(VENV)/dev  ## write anew the documents that are made from the code
	$(BIN)/python -m fastlog.stats > docs/stats.schema.json
	$(BIN)/python docs/make_cli.py > docs/cli.md

bench: $(VENV)/dev  ## how fast each part is
	@mkdir -p build
	$(BIN)/pytest benchmarks -q --benchmark-only --benchmark-quiet --benchmark-json build/bench.json
	@$(BIN)/python benchmarks/bench_table.py build/bench.json | tee build/bench.md

bench-peers: $(VENV)/dev  ## the same load for fastlog, rsyslog, syslog-ng and others; BENCH="--rates 0 --rounds 1" and the like
	@benchmarks/peers/fetch.sh
	$(BIN)/python benchmarks/bench_peers.py $(BENCH)

performance: bench  ## measure all of docs/performance.md and write it anew: some eight minutes
	@benchmarks/peers/fetch.sh
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python benchmarks/measure.py
	$(BIN)/python benchmarks/report.py

docker-build:  ## build the image
	$(COMPOSE) build udp-server

docker-run:  ## start the server in a container; its logs are on the volume fastlog_logs
	$(COMPOSE) up --detach udp-server
	@port=$$($(COMPOSE) port udp-server 8080) && echo "dashboard at http://localhost:$${port##*:}/"

docker-client:  ## send 20 sample entries to it, from another container
	$(COMPOSE) --profile udp-client run --rm udp-client

docker-loadtest:  ## put it under load, from another container
	$(COMPOSE) --profile loadtest run --rm loadtest

docker-test:  ## the test suite in a container
	$(COMPOSE) --profile tests build tests
	$(COMPOSE) --profile tests run --rm tests

docker-logs:  ## follow its log file
	$(COMPOSE) exec udp-server tail -n 20 -F /var/log/fastlog/server.log

docker-stop:  ## end the container; it writes out what it has
	$(COMPOSE) down

docker-clean:  ## remove the containers and images; the volume with the logs stays
	$(COMPOSE) --profile udp-client --profile loadtest --profile tests down --remove-orphans --rmi all

lint: $(VENV)/dev  ## style, types, and documents that are made from the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint fastlog tests/fuzz tests/helpers
	@$(BIN)/python docs/make_cli.py | diff -u docs/cli.md - || { echo "docs/cli.md is not what the commands say; make docs"; exit 1; }

format: $(VENV)/dev  ## lay out the Python code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove everything that was built; logs stay
	rm -rf $(VENV) $(RUN) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find fastlog tests/helpers \( -name '_*.c' -o -name '*.so' \) -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fastlog needs Python 3.11 or newer; PYTHON=python3.12 make … names one"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/built: $(SOURCES) | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev: $(SOURCES) | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/built $@

build/fuzz/fuzz-fastlog: $(SOURCES) $(wildcard tests/fuzz/*.* tests/fuzz/covered tests/fuzz/ignored) | $(VENV)/dev
	$(BIN)/python tests/fuzz/build.py

.PHONY: help run stop client loadtest logs build test fuzz fuzz-native kill docs bench bench-peers performance lint \
        format clean \
        docker-build docker-run docker-client docker-loadtest docker-test docker-logs docker-stop docker-clean
