# Part of make.sh: the Debian package.
name=millstream_${version}_$architecture
tree=$work/$name
doc=$tree/usr/share/doc/millstream
stage "$tree/usr" vendor-completions
gzip -n -9 "$tree"/usr/share/man/man1/*
stage_demo "$doc/examples"
install -D -m 644 "$here/policy.toml" "$tree/etc/millstream/policy.toml"
install -D -m 644 "$here/copyright" "$doc/copyright"
# Debian requires a changelog; the commits describe the changes.
{
    echo "millstream ($version) unstable; urgency=medium"
    printf '\n  * Built from commit %s.\n\n' "$commit"
    echo " -- Millstream <millstream@localhost>  $(date -R --date="@$SOURCE_DATE_EPOCH")"
} | gzip -n -9 >"$doc/changelog.gz"

mkdir "$tree/DEBIAN"
echo /etc/millstream/policy.toml >"$tree/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$tree/DEBIAN/postinst"
(cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
cat >"$tree/DEBIAN/control" <<END
Package: millstream
Version: $version
Architecture: $architecture
Maintainer: Millstream <millstream@localhost>
Installed-Size: $(du --summarize --apparent-size --block-size=1024 --exclude=DEBIAN "$tree" | cut -f 1)
Depends: libc6 (>= $glibc), libgcc-s1 (>= $gcc)
Recommends: ca-certificates, systemd
Suggests: bash-completion
Section: misc
Priority: optional
Description: stream processor whose user code is WebAssembly
 Reads rows from files, brokers and databases, and filters, joins and
 aggregates them in small batches. Checkpoints let a job recover with
 exactly-once results. User code is SQL, or functions in Rust, Python,
 JavaScript, Go or C that run in WebAssembly sandboxes.
 .
 The unit millstream@.service runs a job as a service, as a user without
 privileges.
END
# zstd compresses to 37 MB in 4 s, xz to 29 MB in a minute or two. Systems with a new enough glibc support zstd.
level=9
[[ -z $quick ]] || level=1
dpkg-deb --root-owner-group -Zzstd -z$level --build "$tree" "$out/$name.deb" >/dev/null
archives+=("$name.deb")
