//! The image: its digests are right, and as a runtime of containers would start it, it runs the demo.

use super::archives::{demo_at, digest};
use super::root::Root;
use super::{Made, stdout_of};
use millstream_tests::millstream;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blob of a descriptor; checks its size and digest.
#[track_caller]
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let named = descriptor["digest"].as_str().unwrap();
    let path = layout.join("blobs").join(named.replace(':', "/"));
    let bytes = fs::read(&path).unwrap();
    assert_eq!(named, digest(&bytes));
    assert_eq!(descriptor["size"], bytes.len());
    path
}

#[test]
fn the_image_runs_the_demo() {
    let layout = TempDir::new().unwrap();
    let layout = layout.path();
    stdout_of(Command::new("tar").arg("-xf").arg(Made::once().archive(".tar")).arg("-C").arg(layout));
    assert_eq!(read(&layout.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = read(&layout.join("index.json"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    let manifest = read(&blob(layout, &index["manifests"][0]));
    let config = read(&blob(layout, &manifest["config"]));

    // Version and commit, from the program.
    let output = stdout_of(Command::new(millstream()).arg("--version"));
    let labels = &config["config"]["Labels"];
    let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].as_str().unwrap();
    assert!(output.starts_with(&format!("millstream {}\ncommit: {}", label("version"), label("revision"))), "{output}");

    let image = Root::new();
    let layers = manifest["layers"].as_array().unwrap();
    let contents = config["rootfs"]["diff_ids"].as_array().unwrap();
    assert_eq!(layers.len(), contents.len());
    for (layer, content) in layers.iter().zip(contents) {
        let compressed = blob(layout, layer);
        let unpacked = layout.join("layer.tar");
        stdout_of(Command::new("sh").arg("-c").arg(format!(
            "gzip -dc {} > {}",
            compressed.display(),
            unpacked.display()
        )));
        assert_eq!(content.as_str().unwrap(), digest(&fs::read(&unpacked).unwrap()));
        stdout_of(Command::new("tar").arg("-xpf").arg(&unpacked).arg("--no-same-owner").arg("-C").arg(image.path("")));
    }
    // Nothing in it is setuid, and no user may change the program.
    let open = stdout_of(Command::new("find").arg(image.path("usr")).args(["-perm", "/6022", "!", "-type", "l"]));
    assert_eq!(open, "");

    // The libraries are distributed with their license.
    let licence = "usr/share/doc/libc6/copyright";
    assert_eq!(Path::new("/").join(licence).is_file(), image.path(licence).is_file());

    let (user, group) = config["config"]["User"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!((user, group), ("65532", "65532"));
    let entry = config["config"]["Entrypoint"][0].as_str().unwrap();
    assert_eq!(entry, "/usr/bin/millstream");
    let version = image.run(user.parse().unwrap(), "/home/millstream", &[entry, "--version"]);
    version.iter().for_each(|ended| assert_eq!(ended.stdout, output, "{}", ended.stderr));

    // As in docs/how-to/run-as-a-service.md: another user's directory and ID, without a home in the image.
    let (_around, unpacked) = Made::once().unpacked();
    image.copy(&unpacked.join("demo"), "/jobs/demo");
    image.copy(&unpacked.join("plugins"), "/jobs/plugins");
    let command = [vec![entry], demo_at("/jobs/demo/kept.toml")].concat();
    image.counts(1234, "/jobs", &command, "jobs/demo/out/kept-totals");
}
