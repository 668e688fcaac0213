# `make` lists the targets. PYTHON=python3.12 make … builds with another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := .run
FUZZ_SECONDS ?= 300
MODEL_RUNS ?= 1000000
MODEL_FIRST ?= 0
# DOCKER=podman works as well.
DOCKER ?= docker
COMPOSE := $(DOCKER) compose
# Those in tests/unit that concern the client.
CLIENT_TESTS := $(patsubst %,tests/unit/test_%.py,client_model client_steps lines replay retransmit send_queue unheard)
RELEASE ?= trixie
# What builds the Debian package, and in a clean system the modules first.
DEB_NEEDS := debhelper,patchelf,python3-dev,python3-pip,python3-venv,zlib1g-dev
SOURCES := pyproject.toml setup.py $(shell find fastlog tests/helpers -name '*.pyx' -o -name '*.pxd' -o -name '*.h')
# The pid of the server that `make run` started, if it still runs; by now the pid may belong to another program.
SERVER_PID = $$(pid=$$(cat $(RUN)/pid 2> /dev/null) && \
  tr '\0' ' ' 2> /dev/null < /proc/$$pid/cmdline | grep -q 'fastlog serve' && echo $$pid)
# Where the server of `make run` listens, as flags of the commands that send to it; empty if none was started here.
PORT = $$(sed -n 's/^fastlog: ready udp=.*:\([0-9]*\) http=.*/--port \1/p' $(RUN)/messages 2> /dev/null)
DASHBOARD = $$(sed -n 's/^fastlog: ready .* http=\(http[^ ]*\) .*/--dashboard \1/p' $(RUN)/messages 2> /dev/null)
# Prints what a build lacks on this machine, if anything, and the packages that have it.
CHECK_TOOLS = $(PYTHON) $(dir $(firstword $(MAKEFILE_LIST)))build_needs.py
# pip fetches the tools of the build first. Without a network it would try for half a minute, and print much.
CHECK_INDEX = $(BIN)/pip download --quiet --disable-pip-version-check --retries 0 --no-deps --dest $(VENV)/fetched \
  'setuptools>=77' > /dev/null 2>&1 || { echo "fastlog's libraries are fetched by pip, and it reaches no package index;" \
  "set HTTPS_PROXY or PIP_INDEX_URL; without a network (on Debian, Fedora, Alpine alike), fetch them elsewhere with" \
  "\`pip download fastlog_udp-….whl\`, then \`pip install --no-index --find-links . fastlog-udp\`" >&2; exit 1; }
# Lays out what the Debian package is made of: nothing is built in the tree itself.
define DEB_TREE
rm -rf build/deb/fastlog
mkdir -p build/deb/fastlog/build
cp -r CHANGELOG.md LICENSE README.md SECURITY.md contrib debian dist docs build/deb/fastlog
cp -r build/pages build/deb/fastlog/build
endef

help:  ## this list
	@awk -F ':.*##' '/^##@/ {print substr($$0, 5) ":"} /^[a-z-]+:.*##/ {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ To use it

run: build  ## start the server in the background; print its addresses and its log file
	@if [ -n "$(SERVER_PID)" ]; then echo "fastlog is already running:"; grep -v '^fastlog: ready ' $(RUN)/messages; exit 0; fi; \
	mkdir -p $(RUN); rm -f $(RUN)/messages; : > $(RUN)/messages; \
	setsid $(BIN)/fastlog serve < /dev/null >> $(RUN)/messages 2>&1 & pid=$$!; echo $$pid > $(RUN)/pid; \
	while ! grep -q '^fastlog: ready ' $(RUN)/messages; do \
	  case $$(cat /proc/$$pid/stat 2> /dev/null) in '' | *') Z '*) cat $(RUN)/messages; exit 1;; esac; \
	  sleep 0.05; \
	done; \
	grep -v '^fastlog: ready ' $(RUN)/messages

stop:  ## end that server; it first writes everything it has received
	@pid=$(SERVER_PID); if [ -z "$$pid" ]; then echo "fastlog is not running"; exit 0; fi; \
	kill $$pid; while [ -n "$(SERVER_PID)" ]; do sleep 0.05; done; tail -n 1 $(RUN)/messages; rm $(RUN)/pid

client: build  ## send 20 sample entries to it
	@$(BIN)/fastlog send --samples 20 $(PORT)

loadtest: build  ## send 10,000 entries to it from 4 clients, 1,000 a second in all, and account for each one
	@$(BIN)/fastlog loadtest --logs 10000 --clients 4 --rate 1000 $(PORT) $(DASHBOARD)

logs:  ## follow its log file; Ctrl-C ends it
	@log=$$(sed -n 's/^fastlog: ready .* log=//p' $(RUN)/messages 2> /dev/null); \
	if [ -z "$$log" ]; then echo "no server was started here; \`make run\` starts one" >&2; exit 1; fi; \
	trap 'exit 0' INT; \
	$(BIN)/fastlog tail -f -n 20 --log-dir "$$(dirname "$$log")" --log-filename "$$(basename "$$log")"

build: $(VENV)/built  ## make .venv and compile

clean: stop  ## remove everything that was built; logs stay
	rm -rf $(VENV) $(RUN) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find fastlog tests/helpers \( -name '_*.c' -o -name '*.so' \) -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ To use it in a container

docker-build:  ## build the image
	$(COMPOSE) build udp-server

docker-run:  ## start the server in a container; its logs are on the volume fastlog_logs
	$(COMPOSE) up --detach udp-server
	@port=$$($(COMPOSE) port udp-server 8080) && echo "dashboard at http://localhost:$${port##*:}/"

docker-client:  ## send 20 sample entries to it from another container
	$(COMPOSE) --profile udp-client run --rm udp-client

docker-loadtest:  ## put it under load from another container
	$(COMPOSE) --profile loadtest run --rm loadtest

docker-ship:  ## ship its log to NATS in other containers, and print what arrives there; Ctrl-C ends the printing
	$(COMPOSE) --profile nats up --detach udp-server nats shipper consumer
	@trap 'exit 0' INT; $(COMPOSE) --profile nats logs --follow --no-log-prefix consumer

docker-logs:  ## follow its log file; Ctrl-C ends it
	@trap 'exit 0' INT; $(COMPOSE) exec udp-server fastlog tail -f -n 20

docker-stop:  ## end the container; the server first writes everything it has received
	$(COMPOSE) --profile nats down

docker-clean:  ## remove the containers and images; the volumes with the logs and the stream stay
	$(COMPOSE) --profile udp-client --profile loadtest --profile nats --profile tests down --remove-orphans --rmi all

##@ To work on it

test: $(VENV)/dev  ## the whole test suite; about five minutes on two cores
	$(BIN)/pytest -n auto --dist worksteal

test-pure: $(VENV)/dev  ## the tests of the client once more, over its twin in Python
	FASTLOG_PURE=1 $(BIN)/pytest -n auto --dist worksteal tests/client $(CLIENT_TESTS)

test-pythons: $(VENV)/dev  ## tests/unit on each Python from 3.11 on; with CI=true on the oldest and the newest that make test has not used
	$(BIN)/python -m tests.pythons

pythons: $(VENV)/wheels  ## list the Pythons from 3.11 to 3.15, and unpack those that are missing from Debian's packages
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m wheels.pythons

docker-test:  ## the whole test suite in a container
	$(COMPOSE) --profile tests build tests
	$(COMPOSE) --profile tests run --rm tests

lint: $(VENV)/dev  ## style, types, and whether the documents made from the code are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint fastlog tests/fuzz tests/helpers
	@$(BIN)/python docs/make_cli.py | diff -u docs/cli.md - || { echo "docs/cli.md is out of date; run: make docs"; exit 1; }
	@$(BIN)/python docs/make_blocks.py --check
	@$(BIN)/python -m benchmarks.quoted --check

format: $(VENV)/dev  ## format the Python code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev  ## write the documents that are made from the code
	$(BIN)/python -m fastlog.stats > docs/stats.schema.json
	$(BIN)/python docs/make_cli.py > docs/cli.md
	$(BIN)/python docs/make_blocks.py
	$(BIN)/python -m benchmarks.quoted

dist: $(VENV)/dev  ## build and check what is published: dist/*.tar.gz, and from it dist/*.whl
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

pages: $(VENV)/dev  ## write the manual pages and the shell completions: build/pages/
	$(BIN)/python docs/make_pages.py build/pages

deb: dist pages  ## build a package for this release of Debian in build/deb; `apt-get build-dep .` gets what it needs
	$(DEB_TREE)
	cd build/deb/fastlog && dpkg-buildpackage --build=binary --no-sign
	cp build/deb/fastlog/build/wheel/*.whl build/deb
	@ls $(CURDIR)/build/deb/*.deb

# The modules are compiled there, by that release's Python.
deb-in: dist pages  ## build it for another one, in a clean system of it: RELEASE=trixie; as root, with mmdebstrap
	$(DEB_TREE)
	mmdebstrap --quiet --variant=buildd --include=ca-certificates,$(DEB_NEEDS) \
	  --customize-hook='copy-in build/deb/fastlog /' \
	  --customize-hook='[ -z "$$PIP_CERT" ] || cp "$$PIP_CERT" "$$1$$PIP_CERT"' \
	  --customize-hook='chroot "$$1" sh -ec "cd /fastlog && rm -f dist/*.whl && \
	    python3 -m pip wheel --quiet --no-deps --wheel-dir dist dist/*.tar.gz && \
	    dpkg-buildpackage --build=binary --no-sign"' \
	  --customize-hook='cp "$$1"/fastlog_*.deb "$$1"/fastlog/build/wheel/*.whl build/deb' $(RELEASE) /dev/null
	@ls $(CURDIR)/build/deb/*.deb

deb-check: $(VENV)/dev  ## install that package in clean systems, and use it there; as root
	FASTLOG_DEBS="$(wildcard build/deb/*.deb)" $(BIN)/pytest tests/packages -n 2 -p no:cacheprovider

wheels: pythons  ## build the wheels for Linux in dist/, test those that run here; WHEELS="3.14 --target NAME" chooses
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m wheels.build $(WHEELS)

macos: $(VENV)/wheels  ## compile the client's modules for macOS, to see that they can be; nothing here runs them
	$(BIN)/python -m wheels.macos

fuzz: $(VENV)/dev  ## compare the scanner with its reference on two million cases
	FASTLOG_FUZZ_FACTOR=80 $(BIN)/pytest tests/unit/test_scanner_agrees.py -n auto --timeout 0

fuzz-native: build/fuzz/fuzz-fastlog  ## fuzz the scanner and the receive path under sanitizers, FUZZ_SECONDS for each part
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

kill: $(VENV)/dev  ## kill -9 the server under load, two hundred times
	FASTLOG_KILL_ROUNDS=200 $(BIN)/pytest tests/server/test_kill.py --timeout 0

ship-kill: $(VENV)/dev  ## kill -9 the shipper, the server and NATS under load, two hundred times
	FASTLOG_SHIP_ROUNDS=200 $(BIN)/pytest tests/server/test_ship_kill.py --timeout 0

archive-kill: $(VENV)/dev  ## kill -9 the server and the process that compresses archives under load, two hundred times
	FASTLOG_ARCHIVE_ROUNDS=200 $(BIN)/pytest tests/server/test_archive_kill.py --timeout 0

model: $(VENV)/dev  ## compare MODEL_RUNS random runs of the server's core with what it promises, from the seed MODEL_FIRST on
	FASTLOG_MODEL_RUNS=$(MODEL_RUNS) FASTLOG_MODEL_FIRST=$(MODEL_FIRST) $(BIN)/pytest tests/unit/test_model.py -n auto --timeout 0

client-model: $(VENV)/dev  ## the same for the client, through lossy networks, full disks, forks, crashes and restarts
	FASTLOG_MODEL_RUNS=$(MODEL_RUNS) FASTLOG_MODEL_FIRST=$(MODEL_FIRST) $(BIN)/pytest tests/unit/test_client_model.py -n auto --timeout 0

mutants: $(VENV)/dev  ## make small errors in copies of the server, which the tests must find; MUTANTS="storage ledger" chooses
	$(BIN)/python -m tests.mutants.run $(MUTANTS)

senders:  ## unpack the senders and collectors that tests run, from Debian's packages and npm's; installs nothing
	@tests/helpers/unpack.sh rsyslog syslog-ng-core nginx haproxy php-cli php-monolog liblog4j2-java liblogback-java \
	  wireguard-go wireguard-tools nftables
	@[ -e build/node/complete ] || { NODE_EXTRA_CA_CERTS=$${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt} \
	  npm install --prefix build/node --silent --no-audit --no-fund --omit=optional winston@3 winston-syslog@2 pino@10 && \
	  touch build/node/complete; } || { echo "npm's registry gave no winston and pino: their tests are skipped"; rm -rf build/node; }

bench: $(VENV)/dev  ## measure how fast each part is
	@mkdir -p build
	$(BIN)/pytest benchmarks/parts -q --benchmark-only --benchmark-quiet --benchmark-json build/bench.json
	@$(BIN)/python -m benchmarks.bench_table build/bench.json | tee build/bench.md
	$(BIN)/python -m benchmarks.bench_archives --any --json build/bench-archives.json > build/bench-archives.md
	@cat build/bench-archives.md

bench-peers: $(VENV)/dev  ## the same load for fastlog, rsyslog, syslog-ng and others; BENCH="--rates 0 --rounds 1" sets flags
	@tests/helpers/unpack.sh rsyslog syslog-ng-core
	$(BIN)/python -m benchmarks.bench_peers $(BENCH)

bench-start: $(VENV)/dev  ## measure the start on 1 GB of log that a crash left; BENCH="--cold" sets flags
	$(BIN)/python -m benchmarks.bench_start $(BENCH)

bench-floods: $(VENV)/dev  ## measure what floods do to the ACKs of others; BENCH="--limits 1000" sets flags
	$(BIN)/python -m benchmarks.bench_floods $(BENCH)

bench-ship: $(VENV)/dev  ## measure `fastlog ship`, speed and beside a load; BENCH="long away --minutes 10" chooses
	$(BIN)/python -m benchmarks.bench_ship $(BENCH)

bench-view: $(VENV)/dev  ## measure what viewers of the log cost the server; BENCH="--viewers 20 --minutes 10" sets flags
	$(BIN)/python -m benchmarks.bench_view $(BENCH)

bench-archives: $(VENV)/dev  ## measure 10 GB in compressed archives; BENCH="level --gb 1 --keep DIRECTORY" chooses
	$(BIN)/python -m benchmarks.bench_archives $(BENCH)

performance: bench  ## measure everything in docs/performance.md and write it again; about a quarter of an hour
	@tests/helpers/unpack.sh rsyslog syslog-ng-core
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m benchmarks.measure
	$(BIN)/python -m benchmarks.report
	$(BIN)/python -m benchmarks.quoted

$(BIN)/pip:
	@command -v $(PYTHON) > /dev/null || { echo "fastlog needs Python 3.11 or newer, and there is no $(PYTHON);" \
	  "on Debian: apt install python3 python3-venv python3-dev; on Fedora: dnf install python3 python3-devel;" \
	  "on Alpine: apk add python3 py3-pip python3-dev" >&2; exit 1; }
	@$(CHECK_TOOLS)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# pip downloads the libraries that are missing, and compiles only the C modules whose sources have changed.
$(VENV)/built: $(SOURCES) | $(BIN)/pip
	@$(CHECK_TOOLS)
	@echo "installing fastlog into $(VENV) and compiling its C modules; about a minute the first time"
	@$(CHECK_INDEX)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev: $(SOURCES) | $(BIN)/pip
	@$(CHECK_TOOLS)
	@echo "installing fastlog and the tools of its developers into $(VENV); about two minutes the first time"
	@$(CHECK_INDEX)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/built $@

$(VENV)/wheels: $(VENV)/dev
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[wheels]'
	@touch $@

build/fuzz/fuzz-fastlog: $(SOURCES) $(wildcard tests/fuzz/*.* tests/fuzz/covered tests/fuzz/ignored) | $(VENV)/dev
	$(BIN)/python tests/fuzz/build.py

.PHONY: help run stop client loadtest logs build clean \
        docker-build docker-run docker-client docker-loadtest docker-ship docker-logs docker-stop docker-clean \
        docker-test test test-pure test-pythons lint format docs pythons wheels macos dist pages deb deb-in deb-check fuzz fuzz-native kill ship-kill archive-kill model client-model mutants \
        bench bench-peers senders bench-start bench-floods bench-ship bench-view bench-archives performance
