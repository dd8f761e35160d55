# Part of make.sh: an OCI image, as an image layout in a tarball that docker, podman and skopeo read. It contains the program and the
# system files that it needs. It has no shell, and runs as a user without privileges.
name=millstream-$version-oci-linux-$machine
layout=$work/$name
blobs=$layout/blobs/sha256
mkdir -p "$blobs"
created=$(date --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
user=65532

# The base layer: the loader and libraries at the paths that the program looks for, CA certificates, and user names.
base=$work/base
mkdir -p "$base"/{etc/ssl/certs,home/millstream,tmp,usr/share/doc}
# Copies the license of the Debian package that a file belongs to, if there is one. The arguments are all paths of the file.
copy_license() {
    local owner
    owner=$(dpkg-query --search "$@" 2>/dev/null | head -n 1 | cut -d : -f 1) || true
    [[ -z $owner || ! -e /usr/share/doc/$owner/copyright ]] ||
        install -D -m 644 -t "$base/usr/share/doc/$owner" "/usr/share/doc/$owner/copyright"
}
# Prints one line `from to` per library. The cross compiler has the libraries of another architecture; they go to the paths where
# Debian's loader for that architecture looks.
list_libraries() {
    local cross=/usr/$machine-linux-gnu/lib name
    if [[ -z $tools ]]; then
        ldd "$work/millstream" | grep -o '/[^ ]*' | sort -u | sed 's,.*,& &,'
        return
    fi
    for name in $(readelf -d "$work/millstream" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        case $name in
        ld-linux*) echo "$cross/$name /lib/$name" ;;
        *) echo "$cross/$name /lib/$machine-linux-gnu/$name" ;;
        esac
    done
}
list_libraries >"$work/libraries"
while read -r from to; do
    install -D -m 755 "$(realpath "$from")" "$base$to"
    copy_license "$from" "$(realpath "$from")"
done <"$work/libraries"
certificates=/etc/ssl/certs/ca-certificates.crt
if [[ -e $certificates ]]; then
    install -m 644 "$certificates" "$base$certificates"
    copy_license /usr/sbin/update-ca-certificates
else
    echo "dist: $certificates is missing, so the image trusts no HTTPS server"
fi
cat >"$base/etc/passwd" <<END
root:x:0:0:root:/root:/sbin/nologin
millstream:x:$user:$user:Millstream:/home/millstream:/sbin/nologin
END
printf 'root:x:0:\nmillstream:x:%s:\n' $user >"$base/etc/group"
echo 'hosts: files dns' >"$base/etc/nsswitch.conf"
app=$work/app
install -D -m 755 "$work/millstream" "$app/usr/bin/millstream"
install -D -m 644 LICENSE "$app/usr/share/doc/millstream/LICENSE"

# Appends the directories that unprivileged users write to, which have other owners and modes than the rest.
pack_base() {
    pack "$base" --exclude=./home/millstream --exclude=./tmp . >"$work/base.tar"
    tar --append --file "$work/base.tar" --directory "$base" --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner \
        --owner=$user --group=$user --mode=700 home/millstream
    tar --append --file "$work/base.tar" --directory "$base" --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner \
        --owner=0 --group=0 --mode=1777 tmp
}
pack_base
pack "$app" . >"$work/app.tar"

digest_of() { sha256sum "$1" | cut -d ' ' -f 1; }
# Moves a file to the blobs, and prints its descriptor. The arguments are its media type and path.
add_blob() {
    local digest
    digest=$(digest_of "$2")
    mv "$2" "$blobs/$digest"
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s}' "$1" "$digest" "$(stat -c %s "$blobs/$digest")"
}

layers=() diff_ids=()
for layer in base app; do
    diff_ids+=("\"sha256:$(digest_of "$work/$layer.tar")\"")
    compress <"$work/$layer.tar" >"$work/$layer.tar.gz"
    rm "$work/$layer.tar"
    layers+=("$(add_blob application/vnd.oci.image.layer.v1.tar+gzip "$work/$layer.tar.gz")")
done
labels=$(printf '"org.opencontainers.image.%s":"%s",' title Millstream version "$version" revision "$revision" \
    licenses Apache-2.0 description "A stream processor whose user code is WebAssembly")
labels+="\"org.opencontainers.image.created\":\"$created\""
join_with_commas() { local IFS=,; echo "$*"; }
cat >"$work/config" <<END
{"created":"$created","architecture":"$architecture","os":"linux","config":{"User":"$user:$user","Env":["PATH=/usr/bin","HOME=/home/millstream"],"Entrypoint":["/usr/bin/millstream"],"Cmd":["--help"],"WorkingDir":"/home/millstream","Labels":{$labels},"StopSignal":"SIGTERM"},"rootfs":{"type":"layers","diff_ids":[$(join_with_commas "${diff_ids[@]}")]},"history":[{"created":"$created","created_by":"libraries and certificates"},{"created":"$created","created_by":"millstream"}]}
END
config=$(add_blob application/vnd.oci.image.config.v1+json "$work/config")
cat >"$work/manifest" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":$config,"layers":[$(join_with_commas "${layers[@]}")],"annotations":{$labels}}
END
manifest=$(add_blob application/vnd.oci.image.manifest.v1+json "$work/manifest")
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
cat >"$layout/index.json" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[${manifest%\}},"platform":{"architecture":"$architecture","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"$version","io.containerd.image.name":"docker.io/library/millstream:$version"}}]}
END
# For versions of `docker load` that do not support image layouts.
path_of() { sed 's/.*"sha256:\([0-9a-f]*\)".*/"blobs\/sha256\/\1"/' <<<"$1"; }
cat >"$layout/manifest.json" <<END
[{"Config":$(path_of "$config"),"RepoTags":["millstream:$version"],"Layers":[$(path_of "${layers[0]}"),$(path_of "${layers[1]}")]}]
END
pack "$layout" blobs index.json manifest.json oci-layout >"$out/$name.tar"
archives+=("$name.tar")
