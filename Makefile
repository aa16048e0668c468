# `make demo` and `make test` do everything on a fresh Debian 12 or 13; Rust is the one prerequisite.

CARGO := $(shell command -v cargo)
ifeq ($(CARGO),)
$(error nodeforge needs Rust 1.88 or newer: https://rustup.rs shows how to install it)
endif

NODEFORGE := target/release/nodeforge

.PHONY: demo test bench build packages test-packages clean

demo: packages build ## build the quickstart cluster into out/
	$(NODEFORGE) build examples/quickstart/cluster.toml -o out
	@echo
	@echo 'Boot one of them: $(NODEFORGE) boot agent1 --until "nodeforge-firstboot: role=agent" --timeout 300'

build:
	cargo build --release --locked

packages:
	@scripts/install-packages demo

test: test-packages ## everything that CI runs, on real images
	cargo test --locked -- --skip boots::
	cargo test --locked --test main boots:: -- --test-threads=1

test-packages:
	@scripts/install-packages test

bench: build ## what README's numbers come from
	@scripts/install-packages bench
	benches/run

clean:
	cargo clean
	rm -rf out
