# `make demo` and `make test` do everything on a fresh Debian 12 or 13; Rust is the one prerequisite.
#
# Tests come in two tiers that have no test in common. `make test`, which CI runs, has one case of every
# kind. `make test-long` has the tables: every moment of a kill, every step of a power cut, emulated
# processors, every user. scripts/run-tests says how a test is given its tier.

.DEFAULT_GOAL := help

NODEFORGE := target/release/nodeforge

.PHONY: help demo build dist test test-fast test-long test-one lint fuzz bench packages test-packages rust clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages build ## build the quickstart cluster into out/
	$(NODEFORGE) build examples/quickstart/cluster.toml -o out
	@echo
	@echo 'Enter one of them: $(NODEFORGE) boot agent1 --ssh'

build: rust ## compile a release into target/release/
	cargo build --release --locked

dist: rust ## make a release of this commit in dist/: static binaries, Debian packages, checksums
	@scripts/dist

test: rust test-packages ## one case of every kind, on real images: half an hour, and what CI runs
	@scripts/run-tests short

test-fast: rust ## unit tests, and what needs no images: two minutes once it is compiled
	@scripts/run-tests fast

test-long: rust test-packages ## the tests that `make test` leaves out: up to an hour
	@scripts/run-tests long

test-one: rust ## the tests whose names contain T, of any tier: make test-one T=fetch::resume
	@scripts/run-tests one '$(T)'

lint: rust ## formatting, clippy, and shellcheck for every script
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@scripts/check-scripts

fuzz: rust ## fuzz every parser of untrusted bytes, a minute each
	@scripts/fuzz

bench: build ## measure what docs/performance.md says
	@scripts/install-packages bench
	benches/run

clean: rust ## remove target/, out/ and dist/
	cargo clean
	rm -rf out dist

packages:
	@scripts/install-packages demo

test-packages:
	@scripts/install-packages test

rust:
	@command -v cargo >/dev/null || { \
		echo 'nodeforge needs Rust 1.88 or newer: https://rustup.rs shows how to install it' >&2; exit 1; }
