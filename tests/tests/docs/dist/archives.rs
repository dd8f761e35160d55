//! The tarball and the Debian package.

use super::root::{Root, USER};
use super::{Made, has, stdout_of};
use millstream_tests::{millstream, root};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Large batches, so that the demo's job takes less than a second.
const FAST: [&str; 2] = ["--set", "sources.lines.rows_per_batch_max=1000"];

#[test]
fn the_tarball_runs_the_demo() {
    let (_around, unpacked) = Made::once().unpacked();
    let root = Root::new();
    let program = unpacked.join("bin/millstream");
    root.copy_libraries_of(&program);
    root.copy(&program, "/usr/bin/millstream");
    root.copy(&unpacked.join("demo"), "/home/ann/demo");
    root.copy(&unpacked.join("plugins"), "/home/ann/plugins");
    let command = [["millstream", "run", "/home/ann/demo/kept.toml"].as_slice(), &FAST].concat();
    root.counts(USER, "/home/ann", &command, "home/ann/demo/out/kept-totals");
}

/// Has the files of the packages that this one depends on, registered with dpkg, and nothing else.
fn with_dependencies(package: &Path) -> Root {
    let root = Root::new();
    let (state, list) = ("var/lib/dpkg", root.path("list"));
    fs::create_dir_all(root.path(state).join("info")).unwrap();
    fs::create_dir_all(root.path(state).join("updates")).unwrap();
    let mut known = String::new();
    let depends = stdout_of(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"));
    for name in depends.split(',').map(|one| one.split_whitespace().next().unwrap()) {
        known += &stdout_of(Command::new("dpkg-query").args(["--status", name]));
        known.push('\n');
        let files = stdout_of(Command::new("dpkg-query").args(["--listfiles", name]));
        let files: Vec<&str> =
            files.lines().filter(|file| !Path::new(file).is_dir() && Path::new(file).exists()).collect();
        fs::write(&list, files.join("\n")).unwrap();
        let archive = root.path("dependency.tar");
        stdout_of(Command::new("tar").args(["-C", "/", "-cf"]).arg(&archive).arg("-T").arg(&list));
        stdout_of(Command::new("tar").arg("-C").arg(root.path("")).arg("-xf").arg(&archive));
    }
    // Dependencies of the dependencies are not checked: they are installed here.
    fs::write(root.path(state).join("status"), known).unwrap();
    root
}

#[test]
fn the_package_is_installed_and_runs_the_demo() {
    if !has("dpkg-deb") {
        return;
    }
    let package = Made::once().archive(".deb");
    let root = with_dependencies(&package);
    let mut dpkg = vec!["dpkg", "--force-script-chrootless", "--log=/dev/null"];
    let dir = format!("--root={}", root.path("").display());
    dpkg.extend([&*dir, "--install", package.to_str().unwrap()]);
    // Without root privileges, a namespace of our own provides them.
    let is_root = stdout_of(Command::new("id").arg("-u")).trim() == "0";
    if !is_root {
        dpkg.splice(..0, ["unshare", "--map-root-user"]);
    }
    let paths = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    stdout_of(Command::new(dpkg[0]).args(&dpkg[1..]).env("PATH", paths));
    let output = stdout_of(
        Command::new("dpkg-query").arg(format!("--admindir={}", root.path("var/lib/dpkg").display())).args([
            "--show",
            "--showformat=${Status} ${Conffiles}",
            "millstream",
        ]),
    );
    assert!(output.starts_with("install ok installed"), "{output}");
    assert!(output.contains("/etc/millstream/policy.toml"), "{output}");
    sums_are_right(&root);

    // The service's user; without systemd none is created.
    let users = fs::read_to_string(root.path("etc/passwd")).unwrap_or_default();
    let user = users.lines().find(|line| line.starts_with("millstream:"));
    if super::has("systemd-sysusers") {
        assert!(user.is_some_and(|line| line.contains(":/var/lib/millstream:")), "{users}");
    }
    let user = user.and_then(|line| line.split(':').nth(2)?.parse().ok()).unwrap_or(USER);

    // As the service does it: the job of the directory, with the program in the path.
    root.copy(&root.path("usr/share/doc/millstream/examples/demo"), "/var/lib/millstream/demo");
    root.copy(&root.path("usr/share/doc/millstream/examples/plugins"), "/var/lib/millstream/plugins");
    fs::rename(root.path("var/lib/millstream/demo/kept.toml"), root.path("var/lib/millstream/demo/job.toml")).unwrap();
    let unit = fs::read_to_string(root.path("usr/lib/systemd/system/millstream@.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap().replace("%i", "demo");
    let command: Vec<&str> = start.split(' ').chain(FAST).collect();
    root.counts(user, "/var/lib/millstream", &command, "var/lib/millstream/demo/out/kept-totals");
}

/// Checks that every file but the package's own is in its list of sums, with the right sum.
#[track_caller]
fn sums_are_right(root: &Root) {
    let sums = root.path("var/lib/dpkg/info/millstream.md5sums");
    stdout_of(Command::new("md5sum").args(["--check", "--strict", "--quiet"]).arg(sums).current_dir(root.path("")));
}

/// `sha256:…` of a file.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The demo's job with large batches, in this directory.
pub fn demo_at(job: &str) -> Vec<&str> {
    [["run", job].as_slice(), &FAST].concat()
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn the_same_program_makes_the_same_bytes() {
        let sums = |made: &Made| fs::read_to_string(made.dir.path().join("SHA256SUMS")).unwrap();
        let first = Made::once();
        assert_eq!(sums(first), sums(&Made::anew()));
        stdout_of(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(first.dir.path()));
    }

    /// The files of the tarball equal those of the checkout, except for the program's symbols.
    #[test]
    fn the_tarball_has_what_its_readme_says() {
        let (_around, unpacked) = Made::once().unpacked();
        let same = |inside: &str, of: &str| {
            assert!(
                fs::read(unpacked.join(inside)).unwrap() == fs::read(root().join(of)).unwrap(),
                "{inside} is not {of}"
            );
        };
        same("LICENSE", "LICENSE");
        same("lib/systemd/system/millstream@.service", "scripts/dist/millstream@.service");
        same("demo/text.txt", "demo/text.txt");
        same("plugins/split-words.wasm", "plugins/split-words/split-words.wasm");
        for job in ["demo/word-count.toml", "demo/kept.toml"] {
            let given = fs::read_to_string(unpacked.join(job)).unwrap().replace(".wasm\"\n", "\"\n");
            assert_eq!(given, fs::read_to_string(root().join(job)).unwrap());
        }
        let readme = fs::read_to_string(unpacked.join("README.md")).unwrap();
        assert!(!readme.contains('@') || !readme.contains("@VERSION@"), "{readme}");
        let output = stdout_of(Command::new(unpacked.join("bin/millstream")).arg("--version"));
        assert_eq!(output, stdout_of(Command::new(millstream()).arg("--version")));
        let commit = output.lines().find_map(|line| line.strip_prefix("commit: ")).unwrap();
        assert!(readme.contains(commit), "{readme}");
        for row in readme.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
            for path in row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
                assert!(unpacked.join(path).exists(), "there is no {path}");
            }
        }
    }
}
