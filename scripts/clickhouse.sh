#!/usr/bin/env bash
# Runs a ClickHouse server on ports of 127.0.0.1, in the foreground. If it is missing, downloads its Debian packages and unpacks them
# without installing them. It is a version of 2018; scripts/chdb.sh has newer features.
#   scripts/clickhouse.sh HTTP_PORT TCP_PORT DIR   clients use HTTP_PORT; DIR keeps the data, even if the server is killed
#   scripts/clickhouse.sh                          only downloads, and prints the directory of the packages
set -euo pipefail

caches="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/millstream/servers"
root="$caches/clickhouse-of-debian"

fetch() {
    local part="$root.part" packages
    rm -rf "$part"
    mkdir -p "$part/debs"
    # The packages that this machine lacks.
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
    # Of two scripts that start at the same time, one waits and then uses what the other has downloaded.
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
dir=${3:?missing argument DIR}
mkdir -p "$dir/tmp"
dir=$(cd "$dir" && pwd)
cp "$root/etc/clickhouse-server/users.xml" "$dir/users.xml"
cat >"$dir/config.xml" <<END
<yandex>
  <logger><level>warning</level><console>1</console><log>$dir/log</log><errorlog>$dir/errors</errorlog></logger>
  <http_port>$http</http_port><tcp_port>$tcp</tcp_port><listen_host>127.0.0.1</listen_host>
  <path>$dir/</path><tmp_path>$dir/tmp/</tmp_path><mark_cache_size>5368709</mark_cache_size>
  <users_config>users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
  <timezone>UTC</timezone>
</yandex>
END
export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu"
exec "$root/usr/sbin/clickhouse-server" --config-file="$dir/config.xml"
