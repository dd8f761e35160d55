//! Directories as registries that lie: another user may have written them.

use super::case::{WAYS, Workspace};
use super::goods::{Goods, NAME, digest};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// An attacker's change to a valid directory.
type Harm = fn(&Path, &Goods);

fn blob(dir: &Path, bytes: &[u8]) -> std::path::PathBuf {
    dir.join("blobs/sha256").join(&digest(bytes)["sha256:".len()..])
}

fn replace_with(path: &Path, make: impl FnOnce(&Path)) {
    std::fs::remove_file(path).expect("it was there");
    make(path);
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

fn edit_index(dir: &Path, from: &str, to: &str) {
    let path = dir.join("index.json");
    let text = std::fs::read_to_string(&path).expect("an index");
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).expect("a file");
}

#[test]
fn directories_lie() {
    let attacks: [(&str, &str, Harm); 15] = [
        ("a component with one other bit", "its content has another digest", |dir, goods| {
            let mut bytes = goods.component.clone();
            bytes[100] ^= 1;
            std::fs::write(blob(dir, &goods.component), bytes).expect("a file");
        }),
        ("a component that is short", "its content has another digest", |dir, goods| {
            std::fs::write(blob(dir, &goods.component), &goods.component[1..]).expect("a file");
        }),
        ("a component that is not there", "has no sha256:", |dir, goods| {
            std::fs::remove_file(blob(dir, &goods.component)).expect("a file");
        }),
        ("a component that is a pipe", "it is not a regular file", |dir, goods| {
            replace_with(&blob(dir, &goods.component), pipe)
        }),
        ("a component without an end", "it is not a regular file", |dir, goods| {
            replace_with(&blob(dir, &goods.component), |path| symlink("/dev/zero", path).expect("a link"));
        }),
        ("a component that is somebody's file", "its content has another digest", |dir, goods| {
            replace_with(&blob(dir, &goods.component), |path| symlink("/etc/passwd", path).expect("a link"));
        }),
        ("a component that is a folder", "it is not a regular file", |dir, goods| {
            replace_with(&blob(dir, &goods.component), |path| std::fs::create_dir(path).expect("a folder"));
        }),
        ("a manifest with more in it", "its content has another digest", |dir, goods| {
            let more = [goods.manifest.as_slice(), b" "].concat();
            std::fs::write(blob(dir, &goods.manifest), more).expect("a file");
        }),
        ("a manifest that is a pipe", "it is not a regular file", |dir, goods| {
            replace_with(&blob(dir, &goods.manifest), pipe)
        }),
        ("an index that is a pipe", "it is not a regular file", |dir, _| replace_with(&dir.join("index.json"), pipe)),
        ("an index without an end", "it is not a regular file", |dir, _| {
            replace_with(&dir.join("index.json"), |path| symlink("/dev/zero", path).expect("a link"));
        }),
        ("an index that is none", "index.json is damaged", |dir, _| {
            std::fs::write(dir.join("index.json"), "\u{1b}[2J").expect("a file")
        }),
        ("a deep index", "index.json is damaged", |dir, _| {
            std::fs::write(dir.join("index.json"), "[".repeat(100_000)).expect("a file")
        }),
        ("a digest that is a path", "has no package `split-words`", |dir, goods| {
            edit_index(dir, &digest(&goods.manifest), "sha256:../../../../../../etc/passwd");
        }),
        ("another version", "has no version 0.1.0", |dir, _| edit_index(dir, "0.1.0", "0.0.9")),
    ];
    for (name, says, harm) in attacks {
        let goods = Goods::honest();
        for way in WAYS {
            let workspace = Workspace::new("");
            let registry = workspace.trial.path("registry");
            goods.write(&registry);
            harm(&registry.join(NAME), &goods);
            let went = workspace.attempt(way, &registry.display().to_string(), &goods);
            if let Err(output) = went.check_rejected(says) {
                panic!("{name}: {way:?}: {output}");
            }
        }
    }
}
