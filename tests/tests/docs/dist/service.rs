//! The unit of systemd, which the tarball, the package and `docs/how-to/run-as-a-service.md` have from one file.

use super::root::Root;
use super::{has, stdout_of};
use millstream_tests::{Process, blocks, root};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The directory of the unit in the root for `systemd-analyze`.
const UNITS: &str = "etc/systemd/system";

fn unit() -> String {
    fs::read_to_string(root().join("scripts/dist/millstream@.service")).unwrap()
}

/// The values of a key in the unit; empty if it is missing.
fn says(key: &str) -> Vec<String> {
    let line = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    unit().lines().filter_map(line).collect()
}

/// The requirements of a job: without these it does not stop gracefully, has no home, restarts indefinitely, or cannot run
/// plugins.
#[test]
fn the_unit_fits_the_program() {
    assert_eq!(says("User"), ["millstream"]);
    assert_eq!(says("KillMode"), ["mixed"]);
    assert_eq!(says("Restart"), ["on-failure"]);
    assert_eq!(says("RestartPreventExitStatus"), ["2 3"]);
    assert_eq!(says("ProtectSystem"), ["strict"]);
    assert_eq!(says("CapabilityBoundingSet"), [""]);
    assert_eq!(says("MemoryDenyWriteExecute"), [""; 0], "plugins are compiled");
    assert_eq!(says("ProcSubset"), [""; 0], "the budget of memory is read there");
    let user = fs::read_to_string(root().join("scripts/dist/sysusers.conf")).unwrap();
    assert!(user.contains("\nu millstream - \"Millstream jobs\" /var/lib/millstream\n"), "{user}");
}

/// systemd accepts every line, including those that the page and the files for several machines add.
#[test]
fn systemd_accepts_the_unit_and_the_lines_of_the_page() {
    if !has("systemd-analyze") {
        return;
    }
    let around = Root::new();
    around.copy(&root().join("scripts/dist/millstream@.service"), &format!("{UNITS}/millstream@.service"));
    around.copy(Path::new("/bin/true"), "usr/bin/millstream");
    let added = blocks("docs/how-to/run-as-a-service.md").into_iter().find(|block| block.language == "ini").unwrap();
    let neighbor = around.path(UNITS).join("millstream@demo.service.d");
    fs::create_dir_all(&neighbor).unwrap();
    let machines = fs::read_to_string(root().join("deploy/systemd/cluster.conf")).unwrap();
    // Only this unit counts: the units that it names do not exist here.
    let verify = |dir: &Root| {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]).arg(format!("--root={}", dir.path("").display()));
        Process::start(command.arg("millstream@demo.service")).wait()
    };
    for added in [&added.text, &machines] {
        fs::write(neighbor.join("override.conf"), added).unwrap();
        let ended = verify(&around);
        assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{added}: {}{}", ended.stdout, ended.stderr);
    }
    // It would report that.
    fs::write(neighbor.join("override.conf"), "[Service]\nProtectSystems=strict\n").unwrap();
    let output = verify(&around).stderr;
    assert!(output.contains("ProtectSystems"), "{output}");

    let security = stdout_of(
        Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager", "--threshold=25"])
            .arg(around.path(UNITS).join("millstream@.service")),
    );
    assert!(security.contains("Overall exposure level"), "{security}");
}
