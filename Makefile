# `make demo` and `make test` need nothing before them: they install what is missing, build, and run.

# Absolute, because plugins are built from other folders. One folder holds the builds of host, tests and plugins.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# Where rustup puts cargo, for shells that were not told.
export PATH := $(PATH):$(HOME)/.cargo/bin

MILLSTREAM := $(CARGO_TARGET_DIR)/release/millstream
# `make demo` needs plugins in Rust only, and no other language's tools.
RUST_PLUGINS := $(patsubst %/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml))
PLUGINS := $(patsubst %/cases,%,$(wildcard plugins/*/cases))
BENCH_PLUGINS := host/benches/identity host/benches/compute \
	$(filter-out host/benches/languages/own/%,$(patsubst %/.,%,$(wildcard host/benches/languages/*/*/.)))
TEST_PLUGINS := $(patsubst %/.,%,$(wildcard tests/plugins/*/.))

.PHONY: help setup build tools demo test torture bench lint

help:
	@echo 'make demo    counts the words of a book as it streams in, live'
	@echo 'make test    all tests'
	@echo 'make torture kills jobs at every moment and compares what they put out, with bugs that it must find,'
	@echo '             then feeds the host random plugins (KILLS=1000 FUZZ_SECONDS=600 SEED=1)'
	@echo 'make bench   speed and memory, against native loops'
	@echo 'make lint    formatting and clippy'
	@echo 'make build   the host ($(MILLSTREAM)) and the plugins'
	@echo 'make tools   what plugins in all languages are built with'
	@echo 'make setup   installs what is missing; the others do it by themselves'

setup:
	@scripts/setup.sh

build: setup
	cargo build --release --package millstream
	@for plugin in $(RUST_PLUGINS); do "$(MILLSTREAM)" build $$plugin || exit 1; done

# What plugins in all languages are built with. The doctor says what is missing where it cannot get it.
tools: build
	@scripts/setup.sh tests
	@"$(MILLSTREAM)" doctor --install >/dev/null || "$(MILLSTREAM)" doctor

demo: build
	@MILLSTREAM="$(MILLSTREAM)" demo/run.sh

test: tools
	@for plugin in $(filter-out $(RUST_PLUGINS),$(PLUGINS)) $(TEST_PLUGINS); do \
		"$(MILLSTREAM)" build $$plugin || exit 1; done
	@scripts/test.sh "$(MILLSTREAM)" "$(PLUGINS)"

# As many kills and as much random input as asked for. The seed that a failure names repeats its choices.
KILLS ?= 1000
FUZZ_SECONDS ?= 600
SEED ?= $(shell date +%s)
# A second program, which can be told to have bugs that the kill loop must find. Nothing else is built with this.
WITH_BUGS := --features millstream/planted-bugs,millstream-tests/planted-bugs
torture: tools
	@for plugin in $(TEST_PLUGINS); do "$(MILLSTREAM)" build $$plugin || exit 1; done
	cargo build --release --workspace $(WITH_BUGS) --bin millstream-with-bugs
	KILLS=$(KILLS) SEED=$(SEED) cargo test --release --workspace $(WITH_BUGS) --test torture kill:: -- --nocapture
	cargo test --release --workspace $(WITH_BUGS) --test program -- retry:: upgrade::
	FUZZ_SECONDS=$(FUZZ_SECONDS) SEED=$(SEED) cargo test --release --workspace --test torture fuzz:: -- --nocapture --test-threads=3

bench: tools
	@for plugin in $(BENCH_PLUGINS); do "$(MILLSTREAM)" build $$plugin || exit 1; done
	cargo run --release --package millstream-bench

lint: setup
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
