use super::*;

fn pin(name: &str, version: &str, registry: &str) -> Pin {
    Pin {
        name: name.parse().unwrap(),
        version: version.parse().unwrap(),
        registry: registry.into(),
        manifest: Digest::compute(format!("{name} {version}").as_bytes()),
        layer: Digest::compute(name.as_bytes()),
    }
}

fn parse(text: &str) -> Result<LockFile> {
    LockFile::parse(text, Path::new("millstream.lock"))
}

#[test]
fn what_is_written_is_read_again_in_one_order() {
    let mut lock = LockFile::default();
    lock.add(pin("b", "0.10.0", "oci://host/path")).unwrap();
    lock.add(pin("b", "0.9.0", "../plug \"ins\"")).unwrap();
    lock.add(pin("a-1", "1.0.0-rc.1", "/x")).unwrap();
    let before = PreviousVersion { job: "j".into(), stage: "s".into(), plugin: "b@0.9.0".into(), batch: None };
    lock.set_before(before.clone());
    lock.set_before(PreviousVersion { batch: Some(7), ..before });
    let text = lock.text().unwrap();
    let read = parse(&text).unwrap();
    let versions: Vec<String> = read.packages.iter().map(|pin| format!("{}@{}", pin.name, pin.version)).collect();
    assert_eq!(versions, ["a-1@1.0.0-rc.1", "b@0.9.0", "b@0.10.0"]);
    assert_eq!(read.before("j", "s").unwrap().batch, Some(7));
    assert_eq!(read.before.len(), 1);
    assert_eq!(read.text().unwrap(), text);
    assert_eq!(parse(&LockFile::default().text().unwrap()).unwrap(), LockFile::default());
}

#[test]
fn a_version_that_was_moved_is_not_pinned() {
    let mut lock = LockFile::default();
    lock.add(pin("a", "1.0.0", "oci://one")).unwrap();
    lock.add(pin("a", "1.0.0", "oci://two")).unwrap();
    assert_eq!(lock.packages[0].registry, "oci://two", "the same bytes may come from elsewhere");
    let moved = Pin { manifest: Digest::compute(b"other"), ..pin("a", "1.0.0", "oci://two") };
    let error = lock.add(moved.clone()).unwrap_err();
    assert!(error.message.contains("must never change"), "{error}");
    let layer = Pin { layer: Digest::compute(b"other"), ..pin("a", "1.0.0", "oci://two") };
    assert!(lock.add(layer).is_err());
    assert_eq!(lock.packages.len(), 1);
}

#[test]
fn what_nobody_wrote_is_refused() {
    let entry = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nregistry = \"r\"\n";
    let digest = format!("sha256:{}", "0".repeat(64));
    let good = format!("{entry}manifest = \"{digest}\"\nlayer = \"{digest}\"\n");
    assert_eq!(parse(&good).unwrap().packages.len(), 1);
    for (text, expected) in [
        (format!("{good}\n{good}"), "pinned twice"),
        (good.replace("\"a\"", "\"../a\""), "not a valid package name"),
        (good.replace("1.0.0", "1.0"), "version"),
        (good.replace("1.0.0", "1.0.0+b"), "build metadata"),
        (good.replace("\"r\"", "\"\""), "must be printable text"),
        (good.replace("\"r\"", "\"\\u001b[2J\""), "must be printable text"),
        (good.replacen("sha256:00", "sha256:0X", 1), "not a digest"),
        (entry.to_owned(), "missing field"),
        (format!("{good}extra = 1\n"), "millstream.lock:7: unknown field"),
        ("[[before]]\njob = \"j\"\nstage = \"\\u0007\"\nplugin = \"p\"".into(), "must be printable text"),
        ("not toml".into(), "millstream.lock:1"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.message.contains(expected) && error.message.contains("millstream add"), "{text}\n{error}");
        assert!(!error.message.contains('\u{1b}'));
    }
}
