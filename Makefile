# Every target installs what it lacks first; a second run is quick and changes nothing.
# make demo|up|down take STATE=dir and PORT=n.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
NUTSHELL := $(BIN)/nutshell
OPTIONS := $(if $(STATE),--state $(STATE))

# What real servers need on this machine, and what builds the tiny image.
DEBIAN := qemu-system-x86 qemu-utils libnftables1 dnsmasq-base e2fsprogs dosfstools \
    syslinux syslinux-common mtools openssh-client iputils-ping

.PHONY: oracle-identity help demo up down test test-postgres kill-farm real check bench bench-peers bench-objects bench-images conformance conformance-clients fuzz docs clean debian

help:
	@echo "make demo    a real server on a real network with a real volume, shown step by step (as root)"
	@echo "make up      start the cloud; make down ends it and its guests   (STATE=dir PORT=n)"
	@echo "make test    the tests; make real: those with real guests and networks (as root); make check: lint, types, house rules; make bench: the promised numbers; make bench-peers: beside real OpenStack; make bench-objects: beside Swift and nginx"
	@echo "make test-postgres   the tests with every cloud's state on PostgreSQL   (PART=tests/wire/…)"
	@echo "make kill-farm [SEED=1] [KILLS=20] [DATABASE=postgresql] [REAL=1]   kill -9 at random moments under random work; nothing may be lost"
	@echo "make conformance [SUITE=smoke] [REAL=1] [UPDATE=1] [DATABASE=postgresql]   OpenStack's own tests, all or one list of tests/conformance/lists; REAL=1: real servers (as root); UPDATE=1: what passes has to pass from now on"
	@echo "make conformance-clients [SUITE=osc-identity]   the functional tests of openstackclient, keystoneclient, glanceclient and openstacksdk: identity and image"

$(VENV)/made:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || scripts/install-debian python3-venv
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/made pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check -e '.[real]'
	$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(BIN)/pip install -q --disable-pip-version-check -e '.[real,postgresql,test]'
	@touch $@

debian:
	@scripts/install-debian $(DEBIAN)

up: debian $(VENV)/installed
	$(NUTSHELL) up $(OPTIONS) $(if $(PORT),--port $(PORT))

demo: up
	$(NUTSHELL) demo $(OPTIONS)

down: $(VENV)/installed
	$(NUTSHELL) down $(OPTIONS)

test: $(VENV)/tested
	$(BIN)/python -m pytest -n auto -m 'not real'

# PART: what to run. Not there: tests/fuzz puts SQLite back between requests; tests/image and tests/tiny have no database.
ON_DATABASES := tests/wire tests/contract tests/plan tests/crash tests/objects tests/testing tests/upgrade
test-postgres: $(VENV)/tested
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || scripts/install-debian postgresql
	$(BIN)/python -m pytest -n auto -m 'not real' --database postgresql $(or $(PART),$(ON_DATABASES))

# kill -9 at random moments under random work, and whether anything was lost. As root with REAL=1.
kill-farm: $(VENV)/tested $(if $(REAL),debian)
	$(BIN)/python tests/crash/farm/run.py --seed $(or $(SEED),1) --kills $(or $(KILLS),20) --database $(or $(DATABASE),sqlite) $(if $(REAL),--real)

real: debian $(VENV)/tested
	$(BIN)/python -m pytest -m real

check: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py

bench: $(VENV)/tested
	$(BIN)/python bench/bench.py

# The object store beside real Swift and nginx (as root; flushed on both sides).
bench-objects: debian $(VENV)/tested
	@scripts/install-debian wrk
	$(BIN)/python bench/objects.py

# An image up and down, beside the same bytes received, hashed, written and sent by hand (REAL=1: flushed, as root).
bench-images: $(VENV)/tested $(if $(REAL),debian)
	$(BIN)/python bench/images.py $(if $(REAL),--real)

# Beside real OpenStack from PyPI, installed and started on request (as root; the first time takes minutes).
bench-peers: $(VENV)/tested
	$(BIN)/python bench/peers/compare.py $(if $(ONLY),--only $(ONLY))

# Longer than in `make test`: MINUTES for each kind, from SEED on (docs/FUZZ.md); of Schemathesis that many cases.
fuzz: $(VENV)/tested
	$(BIN)/pip install -q --disable-pip-version-check -e '.[fuzz]'
	FUZZ_MINUTES=$(or $(MINUTES),5) FUZZ_SEED=$(or $(SEED),2) \
	    $(BIN)/python -m pytest tests/fuzz tests/image/test_inspector_fuzz.py
	PYTHONPATH=. $(BIN)/python -m tests.fuzz.with_schemathesis $(or $(SEED),2) $(or $(MINUTES),5)

# OpenStack's own tests, in an environment of their own: their dependencies are not ours.
TEMPEST := tempest==47.0.0 keystone-tempest-plugin==0.22.0 glance-tempest-plugin==0.17.0 \
    neutron-tempest-plugin==3.3.0 cinder-tempest-plugin==1.23.0

.venv-tempest/installed: $(VENV)/made Makefile
	$(PYTHON) -m venv .venv-tempest
	.venv-tempest/bin/pip install -q --disable-pip-version-check $(TEMPEST)
	@touch $@

# Swift's own tests come with its source alone.
SWIFT := swift==2.38.0
SWIFT_TESTS := boto==2.49.0 boto3==1.44.5 awscrt==0.38.1 pytest==9.2.0 mock==5.2.0 python-swiftclient==4.11.0 python-keystoneclient==6.0.0

.venv-swift/installed: $(VENV)/made Makefile
	$(PYTHON) -m venv .venv-swift
	.venv-swift/bin/pip install -q --disable-pip-version-check $(SWIFT) $(SWIFT_TESTS)
	.venv-swift/bin/pip download -q --disable-pip-version-check --no-deps --no-binary :all: -d .venv-swift $(SWIFT)
	mkdir -p .venv-swift/source && tar -xzf .venv-swift/swift-*.tar.gz -C .venv-swift/source
	@touch $@

conformance: $(VENV)/$(if $(DATABASE),tested,installed) $(if $(REAL),debian) \
    $(if $(filter-out swift-%,$(or $(SUITE),all)),.venv-tempest/installed) \
    $(if $(filter swift-%,$(or $(SUITE),swift-all)),$(VENV)/tested .venv-swift/installed)
	$(BIN)/python tests/conformance/run.py $(SUITE) $(if $(REAL),--real) $(if $(UPDATE),--update) $(if $(DATABASE),--database $(DATABASE))

# The official clients' own functional tests, unmodified: identity and image.
.venv-clients/installed: $(VENV)/made tests/conformance/clients.txt
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/pip install -q --disable-pip-version-check -r tests/conformance/clients.txt
	@touch $@

conformance-clients: $(VENV)/installed .venv-clients/installed
	$(BIN)/python tests/conformance/clients.py $(SUITE)

# A real Keystone (an environment of its own, from PyPI) and ours get the same requests; differences are printed.
oracle-identity: $(VENV)/tested
	$(BIN)/python tests/conformance/oracle/policies.py --venv .venv-keystone
	$(BIN)/python tests/conformance/oracle/identity.py --venv .venv-keystone

# Records the schema of the version about to be released and sets its number; commit and tag what it leaves.
.PHONY: release
release: $(VENV)/tested
	@test -n "$(VERSION)" || { echo "which version? make release VERSION=1.2.0" >&2; exit 2; }
	$(BIN)/python -m nutshell.upgrade.release $(VERSION)

docs: $(VENV)/installed
	$(BIN)/python -m nutshell.cli.reference docs
	$(BIN)/python tests/conformance/compatibility.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
