//! How to install the program and run it as a service, block by block.

use super::{Made, WITHIN, counted, has, stdout_of, words};
use millstream_tests::{Block, Process, block_of, blocks, millstream, root};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const PAGES: [&str; 2] = ["docs/how-to/install.md", "docs/how-to/run-as-a-service.md"];

/// Runs these lines in a shell, with only these programs before those of the path.
#[track_caller]
fn shell(dir: &Path, programs: &Path, lines: &str) -> String {
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-euc", lines]).current_dir(dir).env("PATH", path).env("HOME", dir);
    let ended = Process::start(&mut shell).wait_within(WITHIN);
    assert_eq!(ended.code, Some(0), "{lines}\n{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// A directory with programs of these names that print their arguments instead of changing this machine.
fn speaking(names: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in names {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\"\n")).unwrap();
        stdout_of(Command::new("chmod").arg("755").arg(path));
    }
    dir
}

#[test]
fn the_files_are_as_the_page_names_them() {
    let made = Made::once();
    let page = fs::read_to_string(root().join(PAGES[0])).unwrap();
    if std::env::consts::ARCH == "x86_64" {
        for name in ["millstream-0.1.0-linux-x86_64.tar.gz", "millstream-0.1.0-oci-linux-x86_64.tar"] {
            assert!(made.dir.path().join(name).is_file() && page.contains(name), "{name}");
        }
    }
    let none = speaking(&[]);
    shell(made.dir.path(), none.path(), &block_of(&PAGES, "sh", "sha256sum").text);
}

#[test]
fn the_tarball_is_used_as_the_page_says() {
    let (dir, none) = (TempDir::new().unwrap(), speaking(&[]));
    stdout_of(Command::new("cp").arg(Made::once().archive(".tar.gz")).arg(dir.path()));
    let output = shell(dir.path(), none.path(), &block_of(&PAGES, "sh", "tar -xzf").text);
    let words = words();
    assert!(output.contains(&format!("| {} |", words.values().sum::<u64>())), "{output}");
    let unpacked = Made::once().archive(".tar.gz");
    let name = unpacked.file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.gz");
    assert_eq!(counted(&dir.path().join(name).join("demo/out/kept-totals")), words);

    // Into another directory than the machine's.
    let around = dir.path().join("local");
    fs::create_dir(&around).unwrap();
    let copy = block_of(&PAGES, "sh", "cp -r bin").text;
    assert_eq!(copy.matches("/usr/local/").count(), 1, "{copy}");
    let copy = copy.replace("sudo ", "").replace("/usr/local/", &format!("{}/", around.display()));
    shell(&dir.path().join(name), none.path(), &copy);
    stdout_of(Command::new(around.join("bin/millstream")).arg("--version"));
}

/// Commands that would change this machine are called correctly; the files that they name exist.
#[test]
fn privileged_commands_are_as_the_page_says() {
    if !has("dpkg-deb") {
        return;
    }
    let (dir, speaking) = (TempDir::new().unwrap(), speaking(&["sudo", "docker"]));
    let says = |text: &str| shell(dir.path(), speaking.path(), &block_of(&PAGES, "sh", text).text);
    let package = Made::once().archive(".deb");
    let name = package.file_name().unwrap().to_str().unwrap();
    assert_eq!(says("apt install"), format!("sudo apt install ./{name}\n"));
    assert_eq!(says("systemd-sysusers"), "sudo systemd-sysusers /usr/local/lib/sysusers.d/millstream.conf\n");
    let service = says("systemctl enable");
    for path in service.split_whitespace().filter(|word| word.starts_with("/usr/share/doc")) {
        let inside = stdout_of(Command::new("dpkg-deb").arg("--contents").arg(&package));
        assert!(inside.contains(&format!(".{}/\n", path.trim_end_matches("/."))), "{path} is not in {inside}");
    }
    assert!(service.contains("sudo mv /var/lib/millstream/demo/kept.toml /var/lib/millstream/demo/job.toml\n"));
    let unit = fs::read_to_string(root().join("scripts/dist/millstream@.service")).unwrap();
    let status = says("millstream status");
    assert!(unit.contains("RuntimeDirectory=millstream\n") && status.contains("XDG_RUNTIME_DIR=/run/millstream "));
    let image = Made::once().archive(".tar");
    let docker = says("docker load");
    assert!(docker.contains(image.file_name().unwrap().to_str().unwrap()), "{docker}");
    assert!(docker.contains("millstream:0.1.0 run /jobs/demo/kept.toml\n"), "{docker}");
}

#[test]
fn completions_and_manual_come_from_the_program() {
    let dir = TempDir::new().unwrap();
    let program = millstream();
    shell(dir.path(), program.parent().unwrap(), &block_of(&PAGES, "sh", "millstream completions").text);
    let share = dir.path().join(".local/share");
    assert!(share.join("bash-completion/completions/millstream").is_file());
    assert!(share.join("man/man1/millstream-run.1").is_file());
}

/// The program prints what the page shows: the same lines, and the current commit.
#[test]
fn the_version_is_shown_as_on_the_page() {
    let output = stdout_of(Command::new(millstream()).arg("--version"));
    let shown = block_of(&PAGES, "text", "millstream 0.1.0").text;
    let shape = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| if line.starts_with("commit: ") { "commit: …".into() } else { line.to_owned() })
            .collect()
    };
    assert_eq!(shape(&output), shape(&shown));
    let short = stdout_of(Command::new(millstream()).arg("-V"));
    let commit = output.lines().nth(1).unwrap().trim_start_matches("commit: ");
    assert!(short.starts_with("millstream 0.1.0 (") && short.lines().count() == 1, "{short}");
    assert!(short.contains(&commit[..12.min(commit.len())]), "{short}");
    let is_given = std::env::var_os("MILLSTREAM_COMMIT").is_some() || std::env::var_os("MILLSTREAM_BIN").is_some();
    if root().join(".git").exists() && !is_given {
        let head = stdout_of(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root()));
        assert!(commit.starts_with(head.trim()), "{output} is not of {head}");
    }
}

#[test]
fn every_block_of_the_page_is_tested() {
    let taken = [
        ("sh", "sha256sum"),
        ("sh", "tar -xzf"),
        ("sh", "cp -r bin"),
        ("sh", "apt install"),
        ("sh", "systemd-sysusers"),
        ("sh", "systemctl enable"),
        ("sh", "millstream status"),
        ("sh", "docker load"),
        ("sh", "millstream completions"),
        ("ini", "ReadWritePaths"),
        ("text", "millstream 0.1.0"),
    ];
    let mut taken: Vec<Block> = taken.map(|(language, text)| block_of(&PAGES, language, text)).to_vec();
    // This test covers these blocks, and the next one the program's output.
    taken.extend(
        PAGES
            .into_iter()
            .flat_map(blocks)
            .filter(|block| ["make dist\n", "millstream --version\n"].contains(&&*block.text)),
    );
    for block in PAGES.into_iter().flat_map(blocks) {
        assert!(taken.contains(&block), "{}: nothing runs this", block.place);
    }
}
