# What a developer runs, and CI too: `make help` lists it. Nothing here writes into the checkout; CARGO_TARGET_DIR moves
# what cargo builds.

CREDENTIAL_RELAY_CACHE ?= $(HOME)/.cache/credential-relay
cargo-deny_VERSION := 0.20.2
cargo-fuzz_VERSION := 0.13.2
export CARGO_TARGET_DIR ?= $(CREDENTIAL_RELAY_CACHE)/target

export CREDENTIAL_RELAY_CACHE
export PATH := $(CREDENTIAL_RELAY_CACHE)/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help test unit e2e clients clients-fast chaos chaos-short soak fuzz arm64 lint audit sbom reproducible bench fleet dev image prerequisites cargo-deny cargo-fuzz clean-cache

help: ## list what can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | column -t -s @

test: prerequisites unit e2e clients-fast chaos-short ## everything that must pass: the Rust tests, then real SDKs against the relay

prerequisites: ## say what `make test` needs and this machine lacks
	@tests/prerequisites test

# Runs what follows with a copy of the relay that no other build replaces.
WITH_RELAY = relay="$$(tests/relay-bin)" && RELAY_BIN="$$relay" exec

unit: ## the Rust tests
	cargo test --locked --workspace

# Four at a time: the tests mostly wait, for what lives for seconds to be renewed.
e2e: ## six real SDKs against the relay and a test AWS; ARGS goes to pytest, such as ARGS='-k leak'
	cargo test --locked --test upstream_moto --no-run
	tests/e2e/prepare
	tests/clients/prepare --fast
	python3 tests/e2e/images.py
	$(WITH_RELAY) "$$(tests/e2e/prepare --python)" -m pytest tests/e2e --numprocesses 4 --dist loadfile $(ARGS)

ARM64 := $(CREDENTIAL_RELAY_CACHE)/e2e/arm64
arm64: ## the image's binary for arm64: compiled, and run by QEMU on a machine of another kind
	@tests/prerequisites arm64
	tests/e2e/prepare python zig auditable musl-aarch64
	python3 tests/e2e/images.py arm64 '$(ARM64)'
	cd tests/e2e && RELAY_BIN='$(ARM64)/emulated' exec "$$(./prepare --python)" -m pytest \
		arm64.py test_commands.py test_roles_anywhere.py $(ARGS)

clients: ## every client of docs/clients.md through every scenario; ARGS goes to pytest, such as ARGS='-k boto3'
	@tests/prerequisites clients
	tests/clients/prepare
	$(WITH_RELAY) tests/clients/run $(ARGS)

clients-fast: ## the six clients of docs/clients.md that most applications use
	tests/clients/prepare --fast
	$(WITH_RELAY) tests/clients/run --fast $(ARGS)

chaos: ## every fault of tests/chaos over and over while 20 clients get a million answers; ARGS='--only Vault' chooses
	@tests/prerequisites chaos
	$(WITH_RELAY) tests/chaos/run $(ARGS)

chaos-short: ## every fault once, in four minutes or so
	@tests/prerequisites chaos
	$(WITH_RELAY) tests/chaos/run --short

soak: ## relays that rotate every few seconds, for an hour (SECONDS=300 for less): nothing of them grows
	@tests/prerequisites chaos
	$(WITH_RELAY) tests/chaos/run soak --seconds '$(or $(SECONDS),3600)'

lint: ## formatting, clippy, documentation, licences and sources of dependencies
	@tests/prerequisites lint
	cargo fmt --check --all
	for manifest in fuzz/Cargo.toml tests/clients/*/Cargo.toml tests/clients/protocol/cargo/Cargo.toml; do \
		cargo fmt --check --manifest-path "$$manifest" || exit; done
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --all-targets --locked --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	cargo deny --locked check bans licenses sources

audit: ## known vulnerabilities of dependencies; fetches the advisory database, so not a part of lint
	cargo deny --locked check advisories

cargo-deny: ## build the cargo-deny that lint and audit run into the cache, once
cargo-fuzz: ## build the cargo-fuzz that fuzz runs into the cache, once
cargo-deny cargo-fuzz:
	@'$(CREDENTIAL_RELAY_CACHE)/bin/$@' --version 2>/dev/null | grep -qxF '$@ $($@_VERSION)' || \
	cargo install $@ --locked --version '$($@_VERSION)' --root '$(CREDENTIAL_RELAY_CACHE)' \
		--target-dir '$(CREDENTIAL_RELAY_CACHE)/$@-build'
	@rm -rf '$(CREDENTIAL_RELAY_CACHE)/$@-build'

ARCHITECTURE = $(notdir $(PLATFORM))
SBOM ?= $(CARGO_TARGET_DIR)/credential-relay-$(ARCHITECTURE).cdx.json
sbom: ## what the image's binary is made of, in CycloneDX's JSON: SBOM=<file>, PLATFORM as for the image
	@tests/prerequisites sbom
	@mkdir -p '$(dir $(SBOM))'
	SOURCE_DATE_EPOCH="$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null)}" TARGETARCH='$(ARCHITECTURE)' deploy/image/sbom >'$(SBOM)'
	@echo 'written to $(SBOM)'

reproducible: ## the image's binary compiled twice, in two places: the same bytes must come out
	@tests/prerequisites reproducible
	tests/e2e/prepare zig auditable "musl-$$(uname -m)"
	python3 tests/e2e/reproducible.py

bench: ## the aims of docs/performance.md, beside a bare hyper server; ARGS='--gate' checks what a machine's mood does not change
	@tests/prerequisites bench
	cargo build --release --locked --no-default-features --target-dir '$(CARGO_TARGET_DIR)/image'
	cargo bench --locked --bench aims -- --relay '$(CARGO_TARGET_DIR)/image/release/credential-relay' $(ARGS)

fleet: ## a fleet of 100,000 relays on simulated time: the table of docs/reliability.md; it fails while one of its aims is missed
	cargo bench --locked --bench fleet

fuzz: cargo-fuzz ## each fuzz target for SECONDS (60); ARGS names some alone, or says --keep: fuzz/run tells what that does
	@tests/prerequisites fuzz
	fuzz/run --seconds '$(or $(SECONDS),60)' $(ARGS)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
ENGINE ?= docker
PLATFORM ?= linux/amd64
# podman's own format has no health check, and podman 4.3 knows neither the builder's platform nor a stage by an argument's default.
FOR_PODMAN = --format docker --build-arg BINARY=compiled \
	--build-arg BUILDPLATFORM=linux/$(shell uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
image: ## the container image: IMAGE=<repository>:<tag>, ENGINE=docker or podman, PLATFORM=linux/amd64 or linux/arm64, SOURCE=<URL>
	@test -n '$(IMAGE)' || { echo 'IMAGE is missing: make image IMAGE=<repository>/credential-relay:$(VERSION)' >&2; exit 2; }
	$(ENGINE) build --platform '$(PLATFORM)' $(if $(filter podman,$(notdir $(ENGINE))),$(FOR_PODMAN)) \
		--build-arg VERSION='$(VERSION)' --build-arg REVISION="$$(git describe --always --abbrev=40 --exclude '*' --dirty)" \
		$(if $(SOURCE),--build-arg SOURCE='$(SOURCE)') --tag '$(IMAGE)' $(ARGS) .

dev: ## the relay with an embedded upstream, nothing else needed
	cargo run --release --locked -- dev

clean-cache: ## remove what these targets built outside the checkout
	rm -rf '$(CREDENTIAL_RELAY_CACHE)'
