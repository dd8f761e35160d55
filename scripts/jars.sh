#!/usr/bin/env bash
# Prints a directory with jars from Maven Central and all their dependencies. Downloads them if they are missing, outside the checkout.
#   scripts/jars.sh NAME GROUP:ARTIFACT:VERSION…   NAME identifies this set of jars, so it must contain the version
set -euo pipefail
name=${1:?missing argument NAME}
shift
: "${1:?missing argument GROUP:ARTIFACT:VERSION}"

caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
dir="$caches/$name"
fetch_seconds_max=900

pom() {
    echo '<project><modelVersion>4.0.0</modelVersion><groupId>millstream</groupId><artifactId>jars</artifactId>'
    echo '<version>1</version><packaging>pom</packaging><dependencies>'
    local jar
    for jar in "$@"; do
        IFS=: read -r group artifact version <<<"$jar"
        echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
}

# Downloads into a temporary directory and renames it at the end, so that an interrupted download never looks complete.
# Maven's repository is in it as well, and is deleted, so that nothing is added to the user's own repository.
fetch() {
    local part="$dir.part"
    rm -rf "$part"
    mkdir -p "$part"
    pom "$@" >"$part/pom.xml"
    timeout "$fetch_seconds_max" mvn --quiet --batch-mode -Dstyle.color=never --strict-checksums --file "$part/pom.xml" -Dmaven.repo.local="$part/repository" \
        org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$part/lib" >&2 || return 1
    rm -rf "$part/repository"
    mv "$part" "$dir"
}

if [[ ! -d $dir ]]; then
    mkdir -p "$caches"
    # Of two scripts that start at the same time, one waits and then uses what the other has downloaded.
    exec 9>"$dir.lock"
    flock 9
    if [[ ! -d $dir ]]; then
        command -v mvn >/dev/null || { echo "setup: Maven (mvn) is missing, which fetches $name; run: scripts/setup.sh tests" >&2 && exit 1; }
        echo "setup: fetching $name from Maven Central, into $dir" >&2
        fetch "$@" || { echo "setup: Maven could not fetch $name; see above" >&2 && exit 1; }
    fi
    exec 9>&-
fi
echo "$dir/lib"
