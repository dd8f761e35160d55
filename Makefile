# `make demo` and `make test` need nothing before them: they install what is missing, build, and run.

# Absolute, because plugins are built from other folders. One folder holds the builds of host, tests and plugins.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# Where rustup puts cargo, for shells that were not told.
export PATH := $(PATH):$(HOME)/.cargo/bin

MILLSTREAM := $(CARGO_TARGET_DIR)/release/millstream
# What `make demo` builds where nothing is built: no optional part, in the profile `demo`.
DEMO_MILLSTREAM := $(CARGO_TARGET_DIR)/demo/millstream
# `make demo` needs these only, and no other language's tools than Rust's.
DEMO_PLUGINS := plugins/split-words plugins/running-count
RUST_PLUGINS := $(patsubst %/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml))
PLUGINS := $(patsubst %/cases,%,$(wildcard plugins/*/cases))
OTHER_PLUGINS := $(filter-out $(RUST_PLUGINS),$(patsubst %/.,%,$(wildcard plugins/*/.)))
BENCH_PLUGINS := host/benches/identity host/benches/compute \
	$(filter-out host/benches/languages/own/%,$(patsubst %/.,%,$(wildcard host/benches/languages/*/*/.)))
# One of those that languages are compared by takes the place of another in a test, and one of the benches keeps slow workers busy.
TEST_PLUGINS := $(patsubst %/.,%,$(wildcard tests/plugins/*/.)) tests/conformance/lines/rust host/benches/compute

.PHONY: help setup host build tools servers demo demo-build test units torture soak bench bench-rivals bench-spark lint dist sbom wheel spark flink pictures docs

help:
	@echo 'make demo    counts the words of a book as it streams in, live'
	@echo 'make test    the tests, but for those that take long'
	@echo 'make torture runs the tests that take long, kills jobs at every moment and compares what they put out, with bugs that it must find,'
	@echo '             and tears the network between three machines, then feeds the host random plugins (KILLS=1000 FAULTS=500 FUZZ_SECONDS=600 SEED=1)'
	@echo 'make soak    lets a job run between topics of Kafka for hours (HOURS=10), kills a copy of it every minute, and draws what it holds'
	@echo 'make bench   speed and memory, against native loops and programs (PARTS="words servers-redis")'
	@echo 'make bench-rivals   the same jobs on Flink, Spark and Bytewax, which are fetched (1 GB), into bench/results.md (RIVALS=flink QUERIES=0,5)'
	@echo 'make bench-spark    plugins beside the functions of Spark, which is fetched (450 MB)'
	@echo 'make units   the unit tests, built quickly, for who changes the program (TESTS=state::spill for those of a module)'
	@echo 'make lint    formatting, clippy, and words that users should not have to read twice'
	@echo 'make build   the host ($(MILLSTREAM)) and the plugins'
	@echo 'make dist    a tarball, a Debian package and an image for containers, in $(CARGO_TARGET_DIR)/dist'
	@echo 'make sbom    what the program is made of (CycloneDX), in $(CARGO_TARGET_DIR)/dist'
	@echo 'make wheel   the Python package, in $(CARGO_TARGET_DIR)/wheel'
	@echo 'make spark   tests of plugins in a real Spark, which is fetched (450 MB)'
	@echo 'make flink   the library for Flink, and tests of plugins in a real Flink, which is fetched (150 MB)'
	@echo 'make tools   what plugins in all languages are built with'
	@echo 'make servers the servers that tests talk to: Kafka, PostgreSQL, S3, HDFS, OpenSearch, ClickHouse, Flume, Prometheus, Redis, mosquitto, a browser, and a registry of packages'
	@echo 'make docs    generates the reference pages, and builds all pages as a website with search, in $(CARGO_TARGET_DIR)/docs-site'
	@echo 'make pictures those of docs/how-to/monitor.md, of the demo while it runs'
	@echo 'make setup   installs what is missing; the others do it by themselves'

setup:
	@scripts/setup.sh

host: setup
	@[ -e "$(MILLSTREAM)" ] || echo 'Building Millstream. The first time this takes 10 to 20 minutes on two cores, later ones seconds.'
	cargo build --release --package millstream

build: host
	@"$(MILLSTREAM)" build $(RUST_PLUGINS)

# What plugins in all languages are built with. The doctor says what is missing where it cannot get it.
tools: build
	@scripts/setup.sh tests
	@"$(MILLSTREAM)" doctor --install >/dev/null || "$(MILLSTREAM)" doctor

# Real servers that tests start and stop by themselves. Nothing is done where they are there.
servers: setup
	@scripts/setup.sh tests
	@scripts/kafka.sh >/dev/null
	@scripts/flume.sh >/dev/null
	@scripts/pekko.sh >/dev/null
	@scripts/opensearch.sh >/dev/null
	@scripts/hdfs.sh >/dev/null
	@scripts/clickhouse.sh >/dev/null
	@scripts/kinesis.sh >/dev/null
	@scripts/chdb.sh >/dev/null
	@scripts/pypi.sh dataframes >/dev/null
	@scripts/pypi.sh deltalake >/dev/null
	@scripts/pypi.sh duckdb >/dev/null
	@scripts/pypi.sh kubernetes >/dev/null
	@scripts/pypi.sh mkdocs >/dev/null
	@scripts/pypi.sh notebook >/dev/null
	@scripts/pypi.sh opentelemetry >/dev/null
	@scripts/pypi.sh prometheus >/dev/null
	@scripts/prometheus.sh >/dev/null
	@scripts/redis.sh >/dev/null
	@scripts/mosquitto.sh >/dev/null
	@scripts/beats.sh >/dev/null
	@scripts/nats.sh >/dev/null
	@scripts/rabbitmq.sh >/dev/null
	@scripts/zeromq.sh >/dev/null
	@scripts/browser.sh >/dev/null

# Those of docs/how-to/monitor.md, of the demo while it runs.
pictures: host
	@"$(MILLSTREAM)" build $(DEMO_PLUGINS)
	@MILLSTREAM="$(MILLSTREAM)" scripts/pictures.sh

# What `make dist` and `make wheel` are for: this machine, or TARGET=aarch64-unknown-linux-gnu, which is compiled here.
ifneq ($(origin TARGET),command line)
TARGET :=
endif
CROSS := $(if $(TARGET),scripts/cross.sh $(TARGET))
BUILT := $(CARGO_TARGET_DIR)/$(if $(TARGET),$(TARGET)/)release

# The reference pages, from what the program says of itself and from notes; and all pages as a website with search. A link that leads
# nowhere is an error.
docs: host
	@scripts/setup.sh tests
	@scripts/docs.py "$(MILLSTREAM)"
	@packages=$$(scripts/pypi.sh mkdocs) && PYTHONPATH="$$packages" scripts/site.py "$(CARGO_TARGET_DIR)/docs-site"

# The Python package: the program, and the extension, which is built with the libraries that the program has.
wheel: setup
	$(CROSS) cargo build --release --package millstream --package millstream-python
	@rm -rf "$(CARGO_TARGET_DIR)/wheel"
	@scripts/wheel.py "$(BUILT)/millstream" "$(BUILT)/libmillstream_python.so" "$(CARGO_TARGET_DIR)/wheel"

# Not a part of `make test`.
spark: build wheel
	@"$(MILLSTREAM)" build tests/plugins/poison tests/conformance/totals/rust
	@python=$$(scripts/wheel-python.sh "$(CARGO_TARGET_DIR)"/wheel/*.whl "$(CARGO_TARGET_DIR)/python") && \
		components=$$(scripts/conformance.sh "$(MILLSTREAM)" split columns types reject failing mean spread cogroup totals written) && \
		CONFORMANCE="$$components" PYTHONPATH="$$(scripts/pypi.sh pyspark):$$(scripts/pypi.sh protobuf)" "$$python" tests/python/on_spark.py

# Not a part of `make test`, which would wait minutes for it.
flink: tools
	@"$(MILLSTREAM)" build tests/plugins/poison plugins/split-words plugins/running-count plugins/filter-expr
	@scripts/flink.sh "$(MILLSTREAM)"

# Where the whole program is built, it is used. Otherwise the demo's, which has no optional part. With TARGET: that machine's program, in
# an emulator.
ifneq ($(TARGET),)
demo: build
	$(CROSS) cargo build --release --package millstream
	@MILLSTREAM="$(BUILT)/millstream" demo/run.sh
else ifneq ($(wildcard $(MILLSTREAM)),)
demo: host
	@"$(MILLSTREAM)" build $(DEMO_PLUGINS)
	@MILLSTREAM="$(MILLSTREAM)" demo/run.sh
else
demo: demo-build
	@"$(DEMO_MILLSTREAM)" build $(DEMO_PLUGINS)
	@MILLSTREAM="$(DEMO_MILLSTREAM)" demo/run.sh
endif

demo-build: setup
	@[ -e "$(DEMO_MILLSTREAM)" ] || echo 'Building what the demo needs of Millstream. The first time this takes minutes, later ones seconds.'
	cargo build --profile demo --package millstream --no-default-features

# Made in a hurry: tests install the wheel once.
test: export WHEEL_LEVEL := 1
test: tools servers wheel
	@"$(MILLSTREAM)" build $(OTHER_PLUGINS) $(TEST_PLUGINS)
	@scripts/features.sh
	@scripts/test.sh "$(MILLSTREAM)" "$(PLUGINS)"

# Beside what the others build, and built much sooner after a change.
TESTS ?=
units: setup
	cargo --config scripts/quick.toml test --release --workspace --lib -- $(TESTS)

# The tests that take long, and as many kills, faults of networks and as much random input as asked for. The seed that a failure names repeats its choices.
KILLS ?= 1000
FAULTS ?= 500
FUZZ_SECONDS ?= 600
SEED ?= $(shell date +%s)
# A second program, which can be told to have bugs that the kill loop must find. Nothing else is built with this.
WITH_BUGS := --features millstream/planted-bugs,millstream-tests/planted-bugs
torture: export WHEEL_LEVEL := 1
torture: tools servers wheel
	@"$(MILLSTREAM)" build $(OTHER_PLUGINS) $(TEST_PLUGINS)
	@scripts/features.sh each
	cargo test --release --workspace --no-fail-fast --test program --test toolchains --test library --test torture -- ::long::
	cargo build --release --workspace $(WITH_BUGS) --bin millstream-with-bugs
	KILLS=$(KILLS) SEED=$(SEED) cargo test --release --workspace $(WITH_BUGS) --test torture recovery::kill:: -- --nocapture
	FAULTS=$(FAULTS) SEED=$(SEED) cargo test --release --workspace $(WITH_BUGS) --test torture cluster::network:: -- --nocapture
	cargo test --release --workspace $(WITH_BUGS) --test program -- plugins::retry:: plugins::upgrade::
	FUZZ_SECONDS=$(FUZZ_SECONDS) SEED=$(SEED) cargo test --release --workspace --test torture plugins::fuzz:: -- --nocapture --test-threads=3

# What it measures is in the folder, also while it runs.
HOURS ?= 10
SOAK_DIR ?= $(CARGO_TARGET_DIR)/soak
soak: tools servers
	@"$(MILLSTREAM)" build plugins/count-char-py tests/plugins/ledger
	HOURS=$(HOURS) SOAK_DIR="$(SOAK_DIR)" cargo test --release --workspace --test torture recovery::soak:: -- --nocapture

# All parts, or those that are named; RATES=write puts what a server's part measures into host/connectors/notes/rates.md.
PARTS ?=
bench: tools
	@"$(MILLSTREAM)" build $(BENCH_PLUGINS) plugins/count-char
	RATES=$(RATES) cargo run --release --package millstream-bench -- $(PARTS)
	@[ "$(RATES)" != write ] || scripts/docs.py "$(MILLSTREAM)"

# The same jobs on other engines, which are fetched; docs/explanation/benchmarks.md lists the parameters.
bench-rivals: host
	@scripts/setup.sh tests
	cargo build --release --package millstream-bench
	@"$(MILLSTREAM)" build plugins/split-words plugins/count-char
	@MILLSTREAM="$(MILLSTREAM)" OUT="$(CARGO_TARGET_DIR)/rivals" PAGE=bench/results.md PICTURE=docs/pictures/benchmarks.svg RIVALS="$(RIVALS)" JOBS="$(JOBS)" QUERIES="$(QUERIES)" \
		EVENTS=$(EVENTS) ROWS=$(ROWS) WORDS_MB=$(WORDS_MB) REPEATS=$(REPEATS) WORKERS="$(WORKERS)" HEAP=$(HEAP) SECONDS_MAX=$(SECONDS_MAX) \
		python3 bench/rivals/run.py

# Prints tables; docs/how-to/use-plugins-in-spark-flink-clickhouse.md has them.
bench-spark: tools wheel
	@"$(MILLSTREAM)" build plugins/split-words plugins/sum host/benches/languages/split/python bench/spark/json-rust bench/spark/json-python bench/spark/sum-python
	@python=$$(scripts/wheel-python.sh "$(CARGO_TARGET_DIR)"/wheel/*.whl "$(CARGO_TARGET_DIR)/python") && \
		PYTHONPATH="$$(scripts/pypi.sh pyspark):$$(scripts/pypi.sh protobuf)" "$$python" bench/spark/speed.py $(ROWS)

lint: setup
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	@scripts/wording.py

# What the program is made of, as CycloneDX.
sbom: setup
	cargo install --quiet --locked --root "$(CARGO_TARGET_DIR)/tools" cargo-cyclonedx@0.5.9
	@mkdir -p "$(CARGO_TARGET_DIR)/dist"
	"$(CARGO_TARGET_DIR)/tools/bin/cargo-cyclonedx" cyclonedx --manifest-path host/Cargo.toml --format json --override-filename millstream-sbom
	@mv host/millstream-sbom.json "$(CARGO_TARGET_DIR)/dist/millstream-sbom.cdx.json"
	@# It writes one for every crate of the workspace.
	@find bench host plugins sdk tests -name millstream-sbom.json -delete

# What can be given away, made of the program that `build` makes. docs/how-to/install.md tells how to install it.
dist: build
	$(if $(TARGET),$(CROSS) cargo build --release --package millstream)
	@FOR="$(BUILT)/millstream" scripts/dist/make.sh "$(MILLSTREAM)" "$(CARGO_TARGET_DIR)/dist"
