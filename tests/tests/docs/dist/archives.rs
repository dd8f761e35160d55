//! The tarball and the Debian package.

use super::root::{Root, USER};
use super::{Made, does, has};
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

/// Files of the packages that this one depends on are there, and dpkg knows so; nothing else is.
fn with_dependencies(package: &Path) -> Root {
    let root = Root::new();
    let (state, list) = ("var/lib/dpkg", root.path("list"));
    fs::create_dir_all(root.path(state).join("info")).unwrap();
    fs::create_dir_all(root.path(state).join("updates")).unwrap();
    let mut known = String::new();
    let depends = does(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"));
    for name in depends.split(',').map(|one| one.split_whitespace().next().unwrap()) {
        known += &does(Command::new("dpkg-query").args(["--status", name]));
        known.push('\n');
        let files = does(Command::new("dpkg-query").args(["--listfiles", name]));
        let files: Vec<&str> =
            files.lines().filter(|file| !Path::new(file).is_dir() && Path::new(file).exists()).collect();
        fs::write(&list, files.join("\n")).unwrap();
        let archive = root.path("dependency.tar");
        does(Command::new("tar").args(["-C", "/", "-cf"]).arg(&archive).arg("-T").arg(&list));
        does(Command::new("tar").arg("-C").arg(root.path("")).arg("-xf").arg(&archive));
    }
    // Those that the dependencies themselves want are not asked for: they are installed here.
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
    // Where we have no rights, we have them in a namespace of our own.
    let is_root = does(Command::new("id").arg("-u")).trim() == "0";
    if !is_root {
        dpkg.splice(..0, ["unshare", "--map-root-user"]);
    }
    let paths = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    does(Command::new(dpkg[0]).args(&dpkg[1..]).env("PATH", paths));
    let told =
        does(Command::new("dpkg-query").arg(format!("--admindir={}", root.path("var/lib/dpkg").display())).args([
            "--show",
            "--showformat=${Status} ${Conffiles}",
            "millstream",
        ]));
    assert!(told.starts_with("install ok installed"), "{told}");
    assert!(told.contains("/etc/millstream/policy.toml"), "{told}");
    sums_are_right(&root);

    // The user whom the service runs as; where there is no systemd, none is made.
    let users = fs::read_to_string(root.path("etc/passwd")).unwrap_or_default();
    let user = users.lines().find(|line| line.starts_with("millstream:"));
    if super::has("systemd-sysusers") {
        assert!(user.is_some_and(|line| line.contains(":/var/lib/millstream:")), "{users}");
    }
    let user = user.and_then(|line| line.split(':').nth(2)?.parse().ok()).unwrap_or(USER);

    // As the service does it: the job of the folder, with the program of the path.
    root.copy(&root.path("usr/share/doc/millstream/examples/demo"), "/var/lib/millstream/demo");
    root.copy(&root.path("usr/share/doc/millstream/examples/plugins"), "/var/lib/millstream/plugins");
    fs::rename(root.path("var/lib/millstream/demo/kept.toml"), root.path("var/lib/millstream/demo/job.toml")).unwrap();
    let unit = fs::read_to_string(root.path("usr/lib/systemd/system/millstream@.service")).unwrap();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap().replace("%i", "demo");
    let command: Vec<&str> = start.split(' ').chain(FAST).collect();
    root.counts(user, "/var/lib/millstream", &command, "var/lib/millstream/demo/out/kept-totals");
}

/// Every file but the package's own is in its list of sums, and as it says.
#[track_caller]
fn sums_are_right(root: &Root) {
    let sums = root.path("var/lib/dpkg/info/millstream.md5sums");
    does(Command::new("md5sum").args(["--check", "--strict", "--quiet"]).arg(sums).current_dir(root.path("")));
}

/// `sha256:…` of a file.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The demo's job with large batches, at this place.
pub fn demo_at(job: &str) -> Vec<&str> {
    [["run", job].as_slice(), &FAST].concat()
}

/// What takes long: `make torture` runs it, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn the_same_program_makes_the_same_bytes() {
        let sums = |made: &Made| fs::read_to_string(made.dir.path().join("SHA256SUMS")).unwrap();
        let first = Made::once();
        assert_eq!(sums(first), sums(&Made::anew()));
        does(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(first.dir.path()));
    }

    /// What the tarball has is as in the checkout, but for the symbols of the program.
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
        let told = does(Command::new(unpacked.join("bin/millstream")).arg("--version"));
        assert_eq!(told, does(Command::new(millstream()).arg("--version")));
        let commit = told.lines().find_map(|line| line.strip_prefix("commit: ")).unwrap();
        assert!(readme.contains(commit), "{readme}");
        for row in readme.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
            for path in row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
                assert!(unpacked.join(path).exists(), "there is no {path}");
            }
        }
    }
}
