# `make demo` and `make test` work in a fresh checkout: they install missing tools, build, and run.

# Absolute, because plugins are built in other directories. Builds of host, tests and plugins share this directory.
export CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# rustup installs cargo here; a shell that was open before may not have it in PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin

MILLSTREAM := $(CARGO_TARGET_DIR)/release/millstream
# The program that `make demo` builds if there is no release build: no optional features, in the profile `demo`.
DEMO_MILLSTREAM := $(CARGO_TARGET_DIR)/demo/millstream
# The plugins of the demo. They are in Rust, so the demo needs no tools of other languages.
DEMO_PLUGINS := plugins/split-words plugins/running-count
RUST_PLUGINS := $(patsubst %/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml))
PLUGINS := $(patsubst %/cases,%,$(wildcard plugins/*/cases))
OTHER_PLUGINS := $(filter-out $(RUST_PLUGINS),$(patsubst %/.,%,$(wildcard plugins/*/.)))
BENCH_PLUGINS := host/benches/identity host/benches/compute \
	$(filter-out host/benches/languages/own/%,$(patsubst %/.,%,$(wildcard host/benches/languages/*/*/.)))
# The tests also use a plugin of the conformance suite, to replace another one, and a benchmark plugin, to keep workers busy.
TEST_PLUGINS := $(patsubst %/.,%,$(wildcard tests/plugins/*/.)) tests/conformance/lines/rust host/benches/compute

.PHONY: help setup host build tools servers demo demo-build test units torture soak bench bench-rivals bench-spark lint dist sbom wheel spark flink pictures docs

help:
	@echo 'make demo          Count the words of a book as it streams in'
	@echo 'make build         Build the host ($(MILLSTREAM)) and the plugins'
	@echo 'make test          Run all tests except the long ones'
	@echo 'make units         Run the unit tests in a quick build (TESTS=state::spill selects a module)'
	@echo 'make lint          Check formatting, clippy, and the wording of docs and messages'
	@echo 'make torture       Run the long tests, then kill jobs, cut networks and fuzz plugins'
	@echo '                   (KILLS=1000 FAULTS=500 FUZZ_SECONDS=600 SEED=1)'
	@echo 'make soak          Run a Kafka job for hours (HOURS=10), kill a copy every minute, and chart the resource use'
	@echo 'make bench         Measure speed and memory against native programs (PARTS="words servers-redis")'
	@echo 'make bench-rivals  Compare with Flink, Spark and Bytewax in bench/results.md; downloads 1 GB (RIVALS=flink QUERIES=0,5)'
	@echo 'make bench-spark   Compare plugins with Spark functions; downloads 450 MB'
	@echo 'make spark         Test plugins in Spark; downloads 450 MB'
	@echo 'make flink         Build the Flink library, and test plugins in Flink; downloads 150 MB'
	@echo 'make wheel         Build the Python package in $(CARGO_TARGET_DIR)/wheel'
	@echo 'make dist          Build a tarball, a Debian package and a container image in $(CARGO_TARGET_DIR)/dist'
	@echo 'make sbom          Write a software bill of materials (CycloneDX) to $(CARGO_TARGET_DIR)/dist'
	@echo 'make docs          Generate the reference pages, and build the website in $(CARGO_TARGET_DIR)/docs-site'
	@echo 'make pictures      Take the screenshots of docs/how-to/monitor.md'
	@echo 'make tools         Install the tools that build plugins in all languages'
	@echo 'make servers       Install the servers that the tests use, such as Kafka, PostgreSQL and Redis, and a browser'
	@echo 'make setup         Install missing tools; the other targets do this when needed'

setup:
	@scripts/setup.sh

host: setup
	@[ -e "$(MILLSTREAM)" ] || echo 'Building Millstream. The first build takes 10 to 20 minutes on two cores, later builds seconds.'
	cargo build --release --package millstream

build: host
	@"$(MILLSTREAM)" build $(RUST_PLUGINS)

# Installs the tools that build plugins in all languages. If that fails, `doctor` lists what is missing.
tools: build
	@scripts/setup.sh tests
	@"$(MILLSTREAM)" doctor --install >/dev/null || "$(MILLSTREAM)" doctor

# Downloads the servers that the tests start and stop. Those that are already here are not downloaded again.
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

# Takes the screenshots of docs/how-to/monitor.md while the demo runs.
pictures: host
	@"$(MILLSTREAM)" build $(DEMO_PLUGINS)
	@MILLSTREAM="$(MILLSTREAM)" scripts/pictures.sh

# The platform that `make dist`, `make wheel` and `make demo` build for: this machine, or TARGET=aarch64-unknown-linux-gnu, which is
# cross-compiled.
ifneq ($(origin TARGET),command line)
TARGET :=
endif
CROSS := $(if $(TARGET),scripts/cross.sh $(TARGET))
BUILT := $(CARGO_TARGET_DIR)/$(if $(TARGET),$(TARGET)/)release

# Generates the reference pages from the program and from notes, then builds all pages as a website with search. A broken link is an
# error.
docs: host
	@scripts/setup.sh tests
	@scripts/docs.py "$(MILLSTREAM)"
	@packages=$$(scripts/pypi.sh mkdocs) && PYTHONPATH="$$packages" scripts/site.py "$(CARGO_TARGET_DIR)/docs-site"

# The Python package: the program and the extension module. One cargo command builds both, so that they share their libraries.
wheel: setup
	$(CROSS) cargo build --release --package millstream --package millstream-python
	@rm -rf "$(CARGO_TARGET_DIR)/wheel"
	@scripts/wheel.py "$(BUILT)/millstream" "$(BUILT)/libmillstream_python.so" "$(CARGO_TARGET_DIR)/wheel"

# Not part of `make test`.
spark: build wheel
	@"$(MILLSTREAM)" build tests/plugins/poison tests/conformance/totals/rust
	@python=$$(scripts/wheel-python.sh "$(CARGO_TARGET_DIR)"/wheel/*.whl "$(CARGO_TARGET_DIR)/python") && \
		components=$$(scripts/conformance.sh "$(MILLSTREAM)" split columns types reject failing mean spread cogroup totals written) && \
		CONFORMANCE="$$components" PYTHONPATH="$$(scripts/pypi.sh pyspark):$$(scripts/pypi.sh protobuf)" "$$python" tests/python/on_spark.py

# Not part of `make test`, because it takes minutes.
flink: tools
	@"$(MILLSTREAM)" build tests/plugins/poison plugins/split-words plugins/running-count plugins/filter-expr
	@scripts/flink.sh "$(MILLSTREAM)"

# Uses the release build if there is one, else builds the program without optional features. With TARGET, runs the cross-compiled
# program in an emulator.
ifneq ($(TARGET),)
demo: build
	$(CROSS) cargo build --release --package millstream
	@scripts/emulator.sh $(TARGET)
	@MILLSTREAM="$(BUILT)/millstream" DEMO_TIMEOUT=10m demo/run.sh
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
	@[ -e "$(DEMO_MILLSTREAM)" ] || echo 'Building Millstream without optional features. The first build takes minutes, later builds seconds.'
	cargo build --profile demo --package millstream --no-default-features

# Least compression: the tests install the wheel only once.
test: export WHEEL_LEVEL := 1
test: tools servers wheel
	@"$(MILLSTREAM)" build $(OTHER_PLUGINS) $(TEST_PLUGINS)
	@scripts/features.sh
	@scripts/test.sh "$(MILLSTREAM)" "$(PLUGINS)"

# Uses a separate, little optimized build of the project's crates, which is much faster to rebuild after a change.
TESTS ?=
units: setup
	cargo --config scripts/quick.toml test --release --workspace --lib -- $(TESTS)

# The long tests, then the given number of kills and network faults, and fuzzing for the given time. A failure prints the SEED that
# repeats it.
KILLS ?= 1000
FAULTS ?= 500
FUZZ_SECONDS ?= 600
SEED ?= $(shell date +%s)
# A second program, with planted bugs that the kill loop must find. No other target enables these features.
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

# Measurements are in SOAK_DIR, also while the job runs.
HOURS ?= 10
SOAK_DIR ?= $(CARGO_TARGET_DIR)/soak
soak: tools servers
	@"$(MILLSTREAM)" build plugins/count-char-py tests/plugins/ledger
	HOURS=$(HOURS) SOAK_DIR="$(SOAK_DIR)" cargo test --release --workspace --test torture recovery::soak:: -- --nocapture

# Runs all parts, or PARTS. RATES=write stores the rates that the server parts measure in host/connectors/notes/rates.md.
PARTS ?=
bench: tools
	@"$(MILLSTREAM)" build $(BENCH_PLUGINS) plugins/count-char
	RATES=$(RATES) cargo run --release --package millstream-bench -- $(PARTS)
	@[ "$(RATES)" != write ] || scripts/docs.py "$(MILLSTREAM)"

# Runs the same jobs on other engines, which are downloaded. docs/explanation/benchmarks.md lists the parameters.
bench-rivals: host
	@scripts/setup.sh tests
	cargo build --release --package millstream-bench
	@"$(MILLSTREAM)" build plugins/split-words plugins/count-char
	@MILLSTREAM="$(MILLSTREAM)" OUT="$(CARGO_TARGET_DIR)/rivals" PAGE=bench/results.md PICTURE=docs/pictures/benchmarks.svg RIVALS="$(RIVALS)" JOBS="$(JOBS)" QUERIES="$(QUERIES)" \
		EVENTS=$(EVENTS) ROWS=$(ROWS) WORDS_MB=$(WORDS_MB) REPEATS=$(REPEATS) WORKERS="$(WORKERS)" HEAP=$(HEAP) SECONDS_MAX=$(SECONDS_MAX) \
		python3 bench/rivals/run.py

# Prints the measurements for the table in docs/how-to/use-plugins-in-spark-flink-clickhouse.md.
bench-spark: tools wheel
	@"$(MILLSTREAM)" build plugins/split-words plugins/sum host/benches/languages/split/python bench/spark/json-rust bench/spark/json-python bench/spark/sum-python
	@python=$$(scripts/wheel-python.sh "$(CARGO_TARGET_DIR)"/wheel/*.whl "$(CARGO_TARGET_DIR)/python") && \
		PYTHONPATH="$$(scripts/pypi.sh pyspark):$$(scripts/pypi.sh protobuf)" "$$python" bench/spark/speed.py $(ROWS)

lint: setup
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	@scripts/wording.py

# The software bill of materials of the program, in CycloneDX format.
sbom: setup
	cargo install --quiet --locked --root "$(CARGO_TARGET_DIR)/tools" cargo-cyclonedx@0.5.9
	@mkdir -p "$(CARGO_TARGET_DIR)/dist"
	"$(CARGO_TARGET_DIR)/tools/bin/cargo-cyclonedx" cyclonedx --manifest-path host/Cargo.toml --format json --override-filename millstream-sbom
	@mv host/millstream-sbom.json "$(CARGO_TARGET_DIR)/dist/millstream-sbom.cdx.json"
	@# cargo-cyclonedx writes one for every crate of the workspace; only the program's is kept.
	@find bench host plugins sdk tests -name millstream-sbom.json -delete

# Packages the program that `build` builds for distribution. docs/how-to/install.md describes how to install the packages.
dist: build
	$(if $(TARGET),$(CROSS) cargo build --release --package millstream)
	@FOR="$(BUILT)/millstream" scripts/dist/make.sh "$(MILLSTREAM)" "$(CARGO_TARGET_DIR)/dist"
