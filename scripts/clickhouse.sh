#!/usr/bin/env bash
# A ClickHouse on a port of 127.0.0.1, in the foreground; the first time its Debian packages are fetched, and unpacked beside others
# without being installed. It is an old one, of 2018: what it does not know has to be tried elsewhere.
#   scripts/clickhouse.sh PORT PORT FOLDER   clients speak HTTP to the first port; FOLDER keeps the data, also when it is killed
#   scripts/clickhouse.sh                    only fetches it, and prints the folder of its files
set -euo pipefail

caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
root="$caches/clickhouse-of-debian"

fetch() {
    local part="$root.part" packages
    rm -rf "$part"
    mkdir -p "$part/debs"
    # What it needs and this machine has not.
    packages=$(apt-get install --simulate --no-install-recommends clickhouse-server 2>/dev/null | sed -n 's/^Inst \([^ ]*\).*/\1/p')
    [[ -n $packages ]] || packages="clickhouse-server clickhouse-common"
    # shellcheck disable=SC2086
    (cd "$part/debs" && apt-get download --quiet $packages >&2) || return 1
    local deb
    for deb in "$part"/debs/*.deb; do dpkg-deb --extract "$deb" "$part"; done
    rm -rf "$part/debs"
    mv "$part" "$root"
}

if [[ ! -d $root ]]; then
    mkdir -p "$caches"
    # Of two that begin at once, one waits and finds what the other has fetched.
    exec 9>"$root.lock"
    flock 9
    if [[ ! -d $root ]]; then
        echo "setup: fetching ClickHouse from Debian, into $root" >&2
        fetch || { echo "setup: apt-get could not fetch clickhouse-server; see above" >&2 && exit 1; }
    fi
    exec 9>&-
fi
if (($# == 0)); then
    echo "$root"
    exit
fi

http=$1
tcp=$2
folder=${3:?which folder}
mkdir -p "$folder/tmp"
folder=$(cd "$folder" && pwd)
cp "$root/etc/clickhouse-server/users.xml" "$folder/users.xml"
cat >"$folder/config.xml" <<END
<yandex>
  <logger><level>warning</level><console>1</console><log>$folder/log</log><errorlog>$folder/errors</errorlog></logger>
  <http_port>$http</http_port><tcp_port>$tcp</tcp_port><listen_host>127.0.0.1</listen_host>
  <path>$folder/</path><tmp_path>$folder/tmp/</tmp_path><mark_cache_size>5368709</mark_cache_size>
  <users_config>users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
  <timezone>UTC</timezone>
</yandex>
END
export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu"
exec "$root/usr/sbin/clickhouse-server" --config-file="$folder/config.xml"
