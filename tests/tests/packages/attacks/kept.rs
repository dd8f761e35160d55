//! Attacks on local data: the store, and a lock file that another user has written.

use super::case::{Way, Workspace};
use super::goods::{Goods, digest};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A job that has its package, and the former path of the registry.
fn added() -> (Workspace, Goods, PathBuf) {
    let (workspace, goods) = (Workspace::new(""), Goods::honest());
    let registry = workspace.trial.path("registry");
    goods.write(&registry);
    workspace.attempt(Way::Add, &registry.display().to_string(), &goods).check_ok();
    workspace.run(&["validate", "job.toml"]).check_ok();
    (workspace, goods, registry)
}

fn kept(workspace: &Workspace, bytes: &[u8]) -> PathBuf {
    workspace.trial.path("store/sha256").join(&digest(bytes)["sha256:".len()..])
}

#[test]
fn what_is_in_the_store_is_compared_each_time() {
    type Harm = fn(&Path);
    let attacks: [(&str, &str, Harm); 6] = [
        ("another bit", "does not match its digest", |path| {
            let mut bytes = std::fs::read(path).expect("a file");
            bytes[20] ^= 1;
            std::fs::write(path, bytes).expect("a file");
        }),
        ("short", "does not match its digest", |path| {
            let bytes = std::fs::read(path).expect("a file");
            std::fs::write(path, &bytes[..bytes.len() / 2]).expect("a file");
        }),
        ("a link to another file", "cannot be read", |path| {
            std::fs::remove_file(path).expect("a file");
            symlink("/etc/passwd", path).expect("a link");
        }),
        ("a link without an end", "cannot be read", |path| {
            std::fs::remove_file(path).expect("a file");
            symlink("/dev/zero", path).expect("a link");
        }),
        ("a pipe", "it is not a file", |path| {
            std::fs::remove_file(path).expect("a file");
            assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
        }),
        ("a folder", "it is not a file", |path| {
            std::fs::remove_file(path).expect("a file");
            std::fs::create_dir(path).expect("a folder");
        }),
    ];
    for (name, says, harm) in attacks {
        let (workspace, goods, registry) = added();
        std::fs::remove_dir_all(&registry).expect("a folder");
        // Compiled code does not count either.
        std::fs::remove_dir_all(workspace.trial.path("cache")).expect("a folder");
        for bytes in [&goods.component, &goods.manifest] {
            harm(&kept(&workspace, bytes));
            for command in ["run", "validate"] {
                if let Err(output) = workspace.run(&[command, "job.toml"]).check_rejected(says) {
                    panic!("{name}: {command}: {output}");
                }
            }
        }
    }
}

#[test]
fn a_store_writable_by_others_is_not_used() {
    let (workspace, _, _) = added();
    std::fs::set_permissions(workspace.trial.path("store/sha256"), PermissionsExt::from_mode(0o777)).expect("ours");
    std::fs::set_permissions(workspace.trial.path("store"), PermissionsExt::from_mode(0o777)).expect("ours");
    std::fs::remove_file(kept(&workspace, &Goods::honest().component)).expect("a file");
    workspace.run(&["run", "job.toml"]).check_rejected("cannot be trusted: other users can write to ").unwrap();
}

#[test]
fn lock_files_lie() {
    let (workspace, goods, _) = added();
    let lock = workspace.trial.text("millstream.lock");
    let (manifest, layer) = (digest(&goods.manifest), digest(&goods.component));
    for (name, says, from, to) in [
        ("another manifest", "was moved", manifest.as_str(), digest(b"other")),
        ("another component", "its manifest sha256:", &layer, digest(b"other")),
        ("a manifest as the component", "its manifest sha256:", &layer, manifest.clone()),
        ("a component as the manifest", "was moved", &manifest, layer.clone()),
        ("a digest that is a path", "is not a digest", &layer, "sha256:../../../etc/passwd".into()),
        ("another version", "is not pinned", "\"0.1.0\"", "\"0.1.1\"".into()),
        ("a version that is a path", "millstream.lock:5", "\"0.1.0\"", "\"../../x\"".into()),
        ("a name that is a path", "is not a valid package name", "\"split-words\"", "\"../../x\"".into()),
        ("another key", "unknown field `more`", "manifest =", "more = 1\nmanifest =".into()),
        ("no TOML", "millstream.lock:3", "[[package]]", "[[package".into()),
    ] {
        assert!(lock.contains(from), "{lock}");
        workspace.trial.write("millstream.lock", lock.replace(from, &to));
        if let Err(output) = workspace.run(&["run", "job.toml"]).check_rejected(says) {
            panic!("{name}: {output}");
        }
    }
    for (name, says, text) in [
        ("twice", "is pinned twice", format!("{lock}\n{lock}")),
        ("endless", "more than 1048576 bytes", "#".repeat(100 << 20)),
        ("bytes", "millstream.lock:1", "\u{1b}\0".into()),
    ] {
        workspace.trial.write("millstream.lock", text);
        if let Err(output) = workspace.run(&["run", "job.toml"]).check_rejected(says) {
            panic!("{name}: {output}");
        }
    }
    std::fs::remove_file(workspace.trial.path("millstream.lock")).expect("a file");
    workspace.run(&["run", "job.toml"]).check_rejected("is not pinned").unwrap();
    symlink("/dev/zero", workspace.trial.path("millstream.lock")).expect("a link");
    workspace.run(&["run", "job.toml"]).check_rejected("millstream.lock").unwrap();
}

/// A lock file of a user who wants a package of one registry to be taken for one of another, which the policy trusts.
#[test]
fn a_package_in_the_store_belongs_to_its_registry() {
    let (workspace, _, registry) = added();
    let trusted = workspace.trial.path("trusted");
    std::fs::create_dir(&trusted).expect("a folder");
    workspace.trial.write("config/policy.toml", format!("allow = [\"{}\"]", trusted.display()));
    workspace.run(&["run", "job.toml"]).check_rejected("may not be used").unwrap();
    let lock = workspace.trial.text("millstream.lock");
    for to in [trusted.display().to_string(), format!("{}/../registry", trusted.display())] {
        let forged = lock.lines().map(|line| match line.starts_with("registry = ") {
            true => format!("registry = \"{to}\"\n"),
            false => format!("{line}\n"),
        });
        workspace.trial.write("millstream.lock", forged.collect::<String>());
        workspace.run(&["run", "job.toml"]).check_rejected("has no package `split-words`|may not be used").unwrap();
    }
    assert!(registry.is_dir());
}
