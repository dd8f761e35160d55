#!/usr/bin/env bash
# Prints a folder of jars from Maven Central with all that they need, outside the checkout. Fetches them where they are missing.
# Usage: scripts/jars.sh NAME GROUP:ARTIFACT:VERSION…   (NAME tells one choice of jars from another, so it holds the version)
set -euo pipefail
name=${1:?which name}
shift
: "${1:?which jars}"

caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
folder="$caches/$name"
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

# Into a folder that gets its name only when it is whole: who is interrupted leaves nothing that looks finished. What Maven
# keeps for itself goes with it, so that nothing of this is left in the user's own repository.
fetch() {
    local part="$folder.part"
    rm -rf "$part"
    mkdir -p "$part"
    pom "$@" >"$part/pom.xml"
    timeout "$fetch_seconds_max" mvn --quiet --batch-mode -Dstyle.color=never --strict-checksums --file "$part/pom.xml" -Dmaven.repo.local="$part/repository" \
        org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$part/lib" >&2 || return 1
    rm -rf "$part/repository"
    mv "$part" "$folder"
}

if [[ ! -d $folder ]]; then
    mkdir -p "$caches"
    # Of two that begin at once, one waits and finds what the other has fetched.
    exec 9>"$folder.lock"
    flock 9
    if [[ ! -d $folder ]]; then
        command -v mvn >/dev/null || { echo "setup: no Maven (mvn) to fetch $name with; scripts/setup.sh tests installs it" >&2 && exit 1; }
        echo "setup: fetching $name from Maven Central, into $folder" >&2
        fetch "$@" || { echo "setup: Maven could not fetch $name; see above" >&2 && exit 1; }
    fi
    exec 9>&-
fi
echo "$folder/lib"
