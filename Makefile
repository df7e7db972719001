# Everything that this project does, in one word each: `make help`. Debian 12 or Ubuntu 22.04 and later.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# bcc comes from the distribution alone, so the environment is made from its interpreter.
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
CACHE := .cache
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
SITE = $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

PACKAGES := python3-bpfcc python3-venv
TEST_PACKAGES := 'bpftool|linux-tools-generic' clang-format curl dnsmasq-base ethtool gcc iperf3 iproute2 iputils-ping \
	libc6-dev nftables nginx-light openssl procps systemd tcpreplay tshark util-linux
KERNEL_TEST_PACKAGES := cpio debian-archive-keyring kmod mmdebstrap qemu-system-arm qemu-system-x86

PORT ?= 10517
ARGS ?=
PYTEST_ARGS ?=
# Half of the time of tests they wait for something; more of them at once would wait for each other.
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))
FUZZ_ARGS ?=
BENCH_ARGS ?=
FAULTS_ARGS ?=
KERNELS ?=
IMAGE_ARGS ?=
VERSION = $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' exporter/version.py)

.PHONY: help setup test-setup run test test-slow test-kernels corpus faults parts test-parts test-dashboards image test-image lock bench fuzz check format clean

help: ## These lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/.runtime ## Install what the exporter needs: BCC from the distribution, the rest into .venv
	@# Modules without .pyc files cost 4 MB of memory and start-up time, and the exporter cannot write them.
	@$(BIN)/python -m compileall -q exporter

run: setup ## Count on the default interface, as root; PORT=10517, ARGS='--interface eth0'
	@echo "metrics: http://localhost:$(PORT)/metrics (Ctrl-C ends it)"
	@exec $(SUDO) $(BIN)/ayaflow-exporter run --web.listen-address :$(PORT) \
		--history.path .run/history.db $(ARGS)

test-setup: setup $(VENV)/.dev $(CACHE)/prometheus/usr/bin/promtool ## Install what tests and checks need
	@.ci/apt-install $(TEST_PACKAGES)

test: test-setup ## All tests, as root (they load the program and make network namespaces)
	@$(SUDO) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

test-slow: test-setup ## Tests that take long: two minutes of kills, a million names
	@$(SUDO) $(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

test-kernels: test-setup ## Tests on other kernels and arm64, emulated: an hour and more; KERNELS='bookworm'
	@.ci/apt-install $(KERNEL_TEST_PACKAGES)
	@$(SUDO) $(BIN)/python -m tests.kernels $(KERNELS)

corpus: test-setup ## The long replay: one exporter for each capture
	@$(SUDO) $(BIN)/python -m pytest -m corpus $(PYTEST_ARGS)

faults: test-setup ## Everything that goes wrong, 10 minutes of it, and malformed input; FAULTS_ARGS='--seconds 120 --seed 7'
	@$(SUDO) $(BIN)/python -m pytest tests/faults -m faults $(FAULTS_ARGS) $(PYTEST_ARGS)

parts: ## Build what test-parts talks to; needs Go, the first time 4 minutes and 1.5 GB for its caches
	@nice tests/parts/build $(CACHE)/parts

test-parts: test-setup parts ## Tests with a real Prometheus 3 and a real OpenTelemetry Collector
	@$(SUDO) $(BIN)/python -m pytest -m parts $(PYTEST_ARGS)

image: ## Build the image ayaflow-exporter, with podman or docker
	@# podman's own format knows no health check.
	@builder=$$(command -v podman || command -v docker) && \
		$$builder build $$([[ $$builder != *podman ]] || echo --format docker) $(IMAGE_ARGS) \
		--build-arg REVISION=$$(git rev-parse HEAD) -t ayaflow-exporter:$(VERSION) .

test-image: test-setup image ## Run the image as the manifests do, in a network namespace
	@$(SUDO) $(BIN)/python -m pytest -m image $(PYTEST_ARGS)

lock: ## Write requirements.lock anew from setup.cfg
	@$(PYTHON) -m venv $(CACHE)/lock && $(CACHE)/lock/bin/pip install -q pip-tools
	@$(CACHE)/lock/bin/pip-compile -q --generate-hashes --strip-extras --allow-unsafe \
		--no-emit-find-links --no-emit-index-url --upgrade -o requirements.lock setup.cfg

test-dashboards: test-setup parts ## Dashboard and rules: three real nodes, a real Prometheus
	@$(SUDO) $(BIN)/python -m pytest tests/dashboards -m 'parts or not parts' $(PYTEST_ARGS)

bench: test-setup ## All figures, 13 minutes; BENCH_ARGS='--only kernel agent --rounds 1'
	@$(SUDO) $(BIN)/python -m tests.bench $(BENCH_ARGS)

fuzz: test-setup ## Coverage-guided fuzzing, ten minutes a parser; FUZZ_ARGS='dns --seconds 60'
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

check: test-setup ## Lint, format and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@clang-format --dry-run -Werror bpf/*.c bpf/*.h

format: test-setup ## Put the format right
	@$(BIN)/ruff check --fix --select I
	@$(BIN)/ruff format
	@clang-format -i bpf/*.c bpf/*.h

clean: ## Remove everything that make made
	@$(SUDO) rm -rf $(VENV) $(CACHE) .run build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@$(SUDO) find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.runtime: setup.cfg pyproject.toml .ci/apt-install Makefile
	@.ci/apt-install $(PACKAGES)
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv --system-site-packages $(VENV)
	@$(BIN)/python -m pip install -q -e .
	@$(BIN)/python -m compileall -q $(SITE) || true
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@$(BIN)/python -m pip install -q -e '.[dev]'
	@$(BIN)/python -m pip install -q --only-binary atheris -e '.[fuzz]' \
		|| echo "There is no atheris for this Python: the tests fuzz by chance, not by coverage."
	@$(BIN)/python -m compileall -q $(SITE) || true
	@touch $@

$(CACHE)/prometheus/usr/bin/promtool:
	@.ci/fetch-prometheus $(CACHE)/prometheus
