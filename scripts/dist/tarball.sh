# Part of make.sh: the tarball, which users can unpack anywhere.
name=millstream-$version-linux-$machine
tree=$work/tarball/$name
stage "$tree"
stage_demo "$tree"
install -m 644 LICENSE "$tree/LICENSE"
sed -e "s/@VERSION@/$version/" -e "s/@COMMIT@/$commit/" -e "s/@MACHINE@/$machine/" -e "s/@GLIBC@/$glibc/" \
    "$here/README.md" >"$tree/README.md"
pack "$work/tarball" "$name" | compress >"$out/$name.tar.gz"
archives+=("$name.tar.gz")
