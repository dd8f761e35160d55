use super::*;

#[test]
fn versions_are_found_in_what_tools_print() {
    let text = |text: &str| ToolVersion::in_text(text).map(|version| version.to_string());
    for (printed, version) in [
        ("go version go1.26.8 linux/amd64", "1.26.8"),
        ("Debian clang version 14.0.6\nTarget: x86_64-pc-linux-gnu", "14.0.6"),
        ("v20.20.2\n", "20.20.2"),
        ("componentize-py 0.25.1", "0.25.1"),
        ("Python 3.14.0rc2", "3.14.0"),
        ("clang version 19", "19"),
    ] {
        assert_eq!(text(printed).as_deref(), Some(version), "{printed}");
    }
    assert_eq!(text("no number. at all ..."), None);
    let version = |text: &str| ToolVersion::in_text(text).expect("a version");
    assert!(version("1.9") < version("1.24"));
    assert!(version("1.24") < version("1.24.1"));
    assert!(version("2") > version("1.99.9"));
}

/// The lock file has the versions of the table, so that there is one place to change.
#[test]
fn the_packages_of_npm_are_those_of_the_table() {
    let manifest: serde_json::Value = serde_json::from_str(include_str!("npm/package.json")).expect("JSON");
    let lock: serde_json::Value = serde_json::from_str(include_str!("npm/package-lock.json")).expect("JSON");
    let mut named = 0;
    for facts in Tool::ALL.map(Tool::facts) {
        if let ToolRegistry::Npm(package) = facts.registry {
            named += 1;
            assert_eq!(manifest["dependencies"][package], facts.known, "{package} in package.json");
            let locked = &lock["packages"][format!("node_modules/{package}")];
            assert_eq!(locked["version"], facts.known, "{package} in package-lock.json");
            assert!(locked["integrity"].is_string(), "{package} has no digest");
        }
    }
    assert_eq!(manifest["dependencies"].as_object().map(serde_json::Map::len), Some(named));
}

#[test]
fn what_is_known_to_work_will_do() {
    for facts in Tool::ALL.map(Tool::facts) {
        let least = ToolVersion::in_text(facts.least).expect("a version");
        match facts.registry {
            ToolRegistry::Apt(_) => assert_eq!(facts.known, "", "{} is installed by others", facts.program),
            _ => assert!(ToolVersion::in_text(facts.known).expect("a version") >= least, "{}", facts.program),
        }
    }
}

/// Creates a program that prints this.
#[cfg(unix)]
fn program(dir: &Path, name: &str, prints: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(dir).expect("a directory");
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{prints}\n")).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    path
}

#[cfg(unix)]
#[test]
fn a_tool_beside_the_project_is_taken_if_it_will_do() {
    let project = tempfile::tempdir().expect("a directory");
    let own = project.path().join(".venv/bin");
    let path = program(&own, "componentize-py", "echo componentize-py 0.99.1");
    let found = look(Tool::ComponentizePy, project.path()).expect("found");
    assert_eq!((found.path, found.version.to_string()), (path.clone(), "0.99.1".into()));

    program(&own, "componentize-py", "echo componentize-py 0.1.2");
    assert_eq!(
        check_version(Tool::ComponentizePy, &path).expect_err("too old"),
        "is version 0.1.2, but 0.25 or newer is required"
    );
    program(&own, "componentize-py", "echo broken pipes >&2; exit 3");
    let why = check_version(Tool::ComponentizePy, &path).expect_err("it does not run");
    assert_eq!(why, "does not run (exit status: 3): broken pipes");
}

/// Node is not started to determine the version.
#[cfg(unix)]
#[test]
fn a_program_of_npm_has_the_version_of_its_package() {
    let project = tempfile::tempdir().expect("a directory");
    let modules = project.path().join("node_modules");
    let real = program(&modules.join("componentize-qjs/bin"), "componentize-qjs", "exit 1");
    std::fs::write(modules.join("componentize-qjs/package.json"), r#"{"version":"0.77.0"}"#).expect("a file");
    std::fs::create_dir(modules.join(".bin")).expect("a directory");
    std::os::unix::fs::symlink(real, modules.join(".bin/componentize-qjs")).expect("a link");
    let found = look(Tool::ComponentizeQjs, project.path()).expect("found");
    assert_eq!(found.version.to_string(), "0.77.0");
}
