//! Packages in jobs: what `millstream add` pins is what runs, wherever the bytes are fetched from, and nothing else.

use millstream::internals::package::facts::PackageFacts;
use millstream::internals::package::manifest::EncodedPackage;
use millstream_tests::package::{as_version, millstream_in, millstream_with};
use millstream_tests::{Ended, Feeder, Process, RegistryServer, Trial, plugin, root, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const JOB: &str = r#"# My job, with comments that stay.
name = "words"
batch = "1s"
clock = "manual"

[sources.lines]
kind = "queue"
path = "input.jsonl"
schema = { value = "text" }

[stages.words]      # splits
from = "lines"
plugin = "PLUGIN"   # what splits

[sinks.out]
from = "words"
kind = "queue"
path = "out.jsonl"
"#;

/// A trial with a job, and a directory as a registry with versions 0.7.0 and 0.8.0 of split-words.
fn trial(plugin: &str) -> Trial {
    let trial = Trial::new(&JOB.replace("PLUGIN", plugin));
    trial.write("input.jsonl", "[{\"value\": \"a b\"}, {\"value\": \"c\"}]\n");
    for version in ["0.7.0", "0.8.0"] {
        trial.write(&format!("registry/split-{version}.wasm"), as_version("split-words", version));
    }
    trial
}

fn assert_ok(ended: Ended) -> Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

/// Checks that it was rejected with this code and this text on standard error.
fn check_rejected(ended: Ended, code: i32, words: &str) {
    let output = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(code), "{output}");
    assert!(ended.stderr.contains(words), "no {words:?} in\n{output}");
}

fn add(trial: &Trial, reference: &str) -> Ended {
    millstream_in(trial, &["add", reference, "--registry", "registry", "--stage", "words"])
}

fn run(trial: &Trial) -> Ended {
    millstream_in(trial, &["run", "job.toml", "--workers", "1"])
}

fn words(trial: &Trial) -> usize {
    trial.rows("out.jsonl").len()
}

/// The files of the store that hold bytes by their digest.
fn stored(store: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(store.join("sha256")).into_iter().flatten();
    entries.map(|entry| entry.expect("it can be read").path()).collect()
}

#[test]
fn the_added_version_runs() {
    let trial = trial("split-words@0.7.0");
    check_rejected(run(&trial), 2, "`split-words@0.7.0` is not pinned in ");
    check_rejected(run(&trial), 2, "job.toml:13: stage `words`: ");
    let output = assert_ok(add(&trial, "split-words@0.7.0")).stdout;
    assert!(output.contains("world      transform of millstream:plugin@0.1"), "{output}");
    assert!(output.contains("signed by  no trusted key"), "{output}");
    assert_eq!(trial.text("job.toml"), JOB.replace("PLUGIN", "split-words@0.7.0"), "it was there already");
    assert_ok(run(&trial));
    assert_eq!(words(&trial), 3);

    // Without a version it is the newest one, and the author's text around it stays.
    let output = assert_ok(add(&trial, "split-words")).stdout;
    assert!(output.contains("stage `words` of job.toml has it instead of split-words@0.7.0"), "{output}");
    assert_eq!(trial.text("job.toml"), JOB.replace("PLUGIN", "split-words@0.8.0"));
    let lock: toml::Table = toml::from_str(&trial.text("millstream.lock")).expect("it is TOML");
    let packages = lock["package"].as_array().expect("packages");
    let versions: Vec<&str> = packages.iter().filter_map(|package| package["version"].as_str()).collect();
    assert_eq!(versions, ["0.7.0", "0.8.0"]);
    assert_eq!(packages[0]["registry"].as_str(), Some("registry"), "a relative path stays one");
    let mode = fs::metadata(trial.path("millstream.lock")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o400, 0o400);

    // Only the store is needed.
    fs::remove_dir_all(trial.path("registry")).expect("it can be removed");
    assert_ok(run(&trial));
    assert_ok(millstream_in(&trial, &["verify", "job.toml"]));
    assert_ok(millstream_in(&trial, &["validate", "job.toml"]));
}

/// The signers of a package are shown wherever the job is inspected, and follow an upgrade.
#[test]
fn a_job_shows_the_signers_of_its_packages() {
    let feeder = Feeder::start(|n| format!("a{n} b\n"));
    let trial = trial("none@1.0.0");
    trial.change(
        "kind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" }",
        &format!("kind = \"socket\"\naddress = \"127.0.0.1:{}\"", feeder.port()),
    );
    trial.change("batch = \"1s\"\nclock = \"manual\"", "batch = \"20ms\"");
    assert_ok(millstream_in(&trial, &["key", "new", "alice"]));
    let shown = assert_ok(millstream_in(&trial, &["key", "show", "alice"])).stdout;
    let key = shown.split_whitespace().find(|word| word.starts_with("ed25519:")).expect("a key");
    assert_ok(millstream_in(&trial, &["key", "trust", "alice", key]));
    let push = |version: &str, sign: &[&str]| {
        let file = format!("registry/split-{version}.wasm");
        assert_ok(millstream_in(&trial, &[&["push", &file, "--registry", "signed"], sign].concat()));
    };
    push("0.7.0", &["--sign", "alice"]);
    push("0.8.0", &[]);
    assert_ok(millstream_in(
        &trial,
        &["add", "split-words@0.7.0", "--registry", "signed", "--stage", "words", "--job", "job.toml"],
    ));
    let mut command = trial.command(&["run", "job.toml"]);
    command.env("MILLSTREAM_STORE", trial.path("store")).env("MILLSTREAM_CONFIG", trial.path("config"));
    let mut job = Process::start(&mut command);
    // The sink's file exists before the job responds.
    job.wait_until("rows come", |_| trial.path("out.jsonl").exists() && !trial.rows("out.jsonl").is_empty());
    let signers = || {
        let output = millstream_in(&trial, &["status", "job.toml", "--json"]).stdout;
        let output: Value = serde_json::from_str(&output).unwrap_or_default();
        let plugin = &output["stages"][0]["plugin"];
        plugin["signed_by"].clone()
    };
    assert_eq!(signers(), json!(["alice"]));
    let words = assert_ok(millstream_in(&trial, &["status", "job.toml"])).stdout;
    assert!(words.contains("signed  by alice"), "{words}");
    assert_ok(millstream_in(
        &trial,
        &["upgrade", "job.toml", "words", "split-words@0.8.0", "--registry", "signed", "--accept"],
    ));
    assert_eq!(signers(), json!([]));
    assert_ok(millstream_in(&trial, &["upgrade", "job.toml", "words", "registry/split-0.7.0.wasm", "--accept"]));
    assert_eq!(signers(), Value::Null, "a file");
    job.stop();
}

#[test]
fn another_machine_fetches_locked_versions() {
    let trial = trial("plugins/none");
    assert_ok(add(&trial, "split-words@0.7.0"));
    let store = trial.path("another/store");
    check_rejected(millstream_with(&trial, &store, &["verify", "job.toml"]), 1, "");
    let ended = assert_ok(millstream_with(&trial, &store, &["run", "job.toml", "--workers", "1"]));
    assert!(ended.stderr.contains("fetching split-words@0.7.0 from "), "{}", ended.stderr);
    assert_eq!((words(&trial), stored(&store).len()), (3, 2));
    let ended = assert_ok(millstream_with(&trial, &store, &["run", "job.toml", "--workers", "1"]));
    assert!(!ended.stderr.contains("fetching"), "{}", ended.stderr);

    fs::remove_dir_all(trial.path("registry")).expect("it can be removed");
    let third = trial.path("third");
    check_rejected(millstream_with(&trial, &third, &["run", "job.toml"]), 2, "registry is not an existing directory");
    assert!(stored(&third).is_empty());
}

#[test]
fn a_moved_version_is_rejected() {
    let trial = trial("plugins/none");
    assert_ok(add(&trial, "split-words@0.7.0"));
    let files = || (trial.text("job.toml"), trial.text("millstream.lock"));
    let before = files();
    let mut other = as_version("split-words", "0.7.0");
    other.extend(millstream_tests::package::custom_section("something", b"else"));
    trial.write("registry/split-0.7.0.wasm", &other);

    check_rejected(add(&trial, "split-words@0.7.0"), 1, "was moved: it was sha256:");
    // On a machine that has never seen it, the lock file has the data.
    let store = trial.path("another/store");
    check_rejected(millstream_with(&trial, &store, &["run", "job.toml"]), 1, "was moved: it was sha256:");
    let arguments = ["add", "split-words@0.7.0", "--registry", "registry", "--stage", "words"];
    check_rejected(millstream_with(&trial, &trial.path("third"), &arguments), 1, "was moved: it was sha256:");
    // Not even if another origin is configured.
    fs::rename(trial.path("registry"), trial.path("elsewhere")).expect("a folder can be moved");
    let arguments = ["add", "split-words@0.7.0", "--registry", "elsewhere", "--stage", "words"];
    check_rejected(millstream_with(&trial, &trial.path("third"), &arguments), 2, "must never change");
    assert_eq!(files(), before);
    // The pinned version runs anyway.
    assert_ok(run(&trial));
    assert_eq!(words(&trial), 3);
}

#[test]
fn damage_in_the_store_is_reported_and_repaired() {
    let trial = trial("plugins/none");
    assert_ok(add(&trial, "split-words@0.7.0"));
    assert_ok(millstream_in(&trial, &["verify"]));
    for file in stored(&trial.path("store")) {
        let bytes = fs::read(&file).expect("it can be read");
        let mut damaged = bytes.clone();
        let last = damaged.last_mut().expect("it is not empty");
        *last ^= 1;
        fs::write(&file, damaged).expect("it can be written");
        check_rejected(run(&trial), 1, "does not match its digest");
        for arguments in [&["verify"][..], &["verify", "job.toml"]] {
            let ended = millstream_in(&trial, arguments);
            assert_eq!(ended.code, Some(1));
            assert!(ended.stdout.contains("does not match its digest"), "{}", ended.stdout);
        }
        // As the message says.
        fs::remove_file(&file).expect("it can be removed");
        assert_ok(run(&trial));
        assert_eq!(words(&trial), 3);
        assert_eq!(fs::read(&file).expect("it was fetched again"), bytes);
        fs::remove_file(trial.path("out.jsonl")).expect("it can be removed");
    }
    assert_ok(millstream_in(&trial, &["verify"]));
}

#[test]
fn an_update_to_something_else_must_be_accepted() {
    let trial = trial(&plugin("running-count").display().to_string());
    let before = trial.text("job.toml");
    check_rejected(add(&trial, "split-words@0.7.0"), 2, "differs from the current plugin of stage `words`");
    check_rejected(add(&trial, "split-words@0.7.0"), 2, "add --accept");
    assert_eq!((trial.text("job.toml"), trial.text("millstream.lock")), (before, String::new()));
    let accepted = ["add", "split-words@0.7.0", "--registry", "registry", "--stage", "words", "--accept"];
    assert_ok(millstream_in(&trial, &accepted));
    assert_eq!(trial.text("job.toml"), JOB.replace("PLUGIN", "split-words@0.7.0"));
    assert_ok(run(&trial));
}

#[test]
fn unused_packages_are_removed() {
    let trial = trial("plugins/none");
    let store = trial.path("store");
    assert_ok(add(&trial, "split-words@0.7.0"));
    trial.write("other/job.toml", JOB);
    let other = ["add", "split-words@0.8.0", "--registry", "registry", "--job", "other/job.toml"];
    assert_ok(millstream_in(&trial, &other));
    assert_eq!(stored(&store).len(), 4);
    assert!(assert_ok(millstream_in(&trial, &["gc"])).stdout.contains("removed 0 files"));
    fs::remove_file(trial.path("other/millstream.lock")).expect("it can be removed");
    let output = assert_ok(millstream_in(&trial, &["gc"])).stdout;
    assert!(
        output.contains("other/millstream.lock no longer exists") && output.contains("removed 2 files"),
        "{output}"
    );
    assert_eq!(stored(&store).len(), 2);
    fs::remove_dir_all(trial.path("registry")).expect("it can be removed");
    assert_ok(run(&trial));
}

#[test]
fn concurrent_adds_lose_nothing() {
    let trial = trial("plugins/none");
    let versions: Vec<String> = (1..=6).map(|number| format!("1.{number}.0")).collect();
    for version in &versions {
        trial.write(&format!("registry/split-{version}.wasm"), as_version("split-words", version));
    }
    std::thread::scope(|scope| {
        for version in &versions {
            let reference = format!("split-words@{version}");
            let trial = &trial;
            scope.spawn(move || assert_ok(millstream_in(trial, &["add", &reference, "--registry", "registry"])));
        }
    });
    let lock: toml::Table = toml::from_str(&trial.text("millstream.lock")).expect("it is TOML");
    assert_eq!(lock["package"].as_array().map(Vec::len), Some(versions.len()));
    assert_eq!(stored(&trial.path("store")).len(), 2 * versions.len());
}

#[test]
fn origins_of_packages() {
    let trial = trial("plugins/none");
    let bare = ["add", "split-words@0.7.0", "--stage", "words"];
    check_rejected(millstream_in(&trial, &bare), 2, "no registry given");
    trial.write("config/config.toml", "registry = \"registry\"");
    check_rejected(millstream_in(&trial, &bare), 2, "`registry` is a relative path");
    trial.write("config/config.toml", format!("registry = {:?}\n", trial.path("registry")));
    assert_ok(millstream_in(&trial, &bare));
    let lock: toml::Table = toml::from_str(&trial.text("millstream.lock")).expect("it is TOML");
    let registry = fs::canonicalize(trial.path("registry")).expect("it is there");
    assert_eq!(lock["package"][0]["registry"].as_str(), registry.to_str());
    // A newer one is looked for at the registry in the lock file.
    trial.write("config/config.toml", "registry = \"/nowhere\"\n");
    assert_ok(millstream_in(&trial, &["add", "split-words", "--stage", "words"]));
    assert!(trial.text("job.toml").contains("plugin = \"split-words@0.8.0\""));
    // The checkout's own plugins are a registry.
    let own = root().join("plugins").display().to_string();
    assert_ok(millstream_in(&trial, &["add", "running-count", "--registry", &own]));
}

#[test]
fn the_origin_of_a_package_cannot_be_forged() {
    let trial = trial("plugins/none");
    assert_ok(add(&trial, "split-words@0.7.0"));
    let lock = trial.text("millstream.lock");
    // The store holds these bytes, but not from there.
    trial.write("millstream.lock", lock.replace("registry = \"registry\"", "registry = \"elsewhere\""));
    check_rejected(run(&trial), 2, "elsewhere is not an existing directory");
    fs::create_dir(trial.path("elsewhere")).expect("a folder can be made");
    assert_ne!(run(&trial).code, Some(0));
    trial.write("millstream.lock", lock.replace("layer = \"sha256:", "layer = \"sha256:0"));
    check_rejected(run(&trial), 2, "is not a digest");
    trial.write("millstream.lock", lock);
    assert_ok(run(&trial));
}

#[test]
fn a_wrong_job_or_stage_is_reported_before_anything_is_fetched() {
    let trial = trial("plugins/none");
    let to = |job: &str, stage: &str| {
        millstream_in(&trial, &["add", "split-words", "--registry", "registry", "--job", job, "--stage", stage])
    };
    check_rejected(to("none.toml", "words"), 2, "none.toml: file not found");
    check_rejected(to("job.toml", "wrods"), 2, "stage `wrods`: no such stage");
    trial.write("sql.toml", JOB.replace("plugin = \"PLUGIN\"", "sql = \"select 1 as n\""));
    check_rejected(to("sql.toml", "words"), 2, "a stage has one operator, and this one has `plugin` and `sql`");
    assert!(trial.text("sql.toml").contains("sql = ") && !trial.path("millstream.lock").exists());
    fs::remove_dir_all(trial.path("store")).expect("it can be removed");
    let ended = millstream_in(&trial, &["add", "split-words@1", "--registry", "registry"]);
    check_rejected(ended, 2, "`1` is not a valid version");
    assert!(!trial.path("store").exists() && !trial.path("millstream.lock").exists());
}

#[test]
fn a_stage_without_a_plugin_gets_one_and_both_move_together() {
    let trial = trial("plugins/none");
    let bare = JOB.replace("plugin = \"PLUGIN\"   # what splits\n", "");
    trial.write("here/job.toml", &bare);
    let arguments =
        ["add", "split-words@0.7.0", "--registry", "registry", "--job", "here/job.toml", "--stage", "words"];
    assert_ok(millstream_in(&trial, &arguments));
    assert_eq!(
        trial.text("here/job.toml"),
        bare.replace("from = \"lines\"\n", "from = \"lines\"\nplugin = \"split-words@0.7.0\"\n")
    );
    // The directories of job and registry move together, to a user with an empty store.
    for dir in ["here", "registry"] {
        let to = trial.path("moved").join(dir);
        fs::create_dir_all(trial.path("moved")).expect("a folder can be made");
        fs::rename(trial.path(dir), to).expect("a folder can be moved");
    }
    trial.write("moved/here/input.jsonl", "[{\"value\": \"a b\"}]\n");
    let ended = millstream_with(&trial, &trial.path("another"), &["run", "moved/here/job.toml", "--workers", "1"]);
    assert_ok(ended);
    assert_eq!(trial.rows("moved/here/out.jsonl").len(), 2);
}

#[test]
fn a_batch_is_replayed_unchanged_after_its_package_was_removed() {
    let trial = trial("plugins/none");
    let job = format!("{}\n[checkpoint]\ndir = \"state\"\nevery = 100\n", JOB.replace("PLUGIN", "plugins/none"));
    trial.write("job.toml", job);
    assert_ok(add(&trial, "split-words@0.7.0"));
    assert_ok(run(&trial));
    fs::remove_dir_all(trial.path("registry")).expect("it can be removed");
    fs::remove_dir_all(trial.path("store")).expect("it can be removed");
    let arguments = ["replay", "job.toml", "--batch", "1", "--as-it-was"];
    let ended = assert_ok(millstream_in(&trial, &arguments));
    assert!(ended.stdout.contains('a'), "{}", ended.stdout);
}

#[test]
fn a_remote_registry_is_needed_once() {
    let server = RegistryServer::start();
    let trial = trial("plugins/none");
    let url = server.url();
    for version in ["0.7.0", "0.8.0"] {
        assert_ok(millstream_in(&trial, &["push", &format!("registry/split-{version}.wasm"), "--registry", &url]));
    }
    let add = ["add", "split-words@0.7.0", "--registry", &url, "--stage", "words"];
    assert_ok(millstream_in(&trial, &add));
    let lock = trial.text("millstream.lock");
    assert!(lock.contains(&format!("registry = \"{url}\"")), "{lock}");
    assert_ok(run(&trial));
    // The same digests, whether it was pushed or not.
    trial.write("millstream.lock", "");
    check_rejected(millstream_in(&trial, &["verify", "job.toml"]), 1, "");
    assert_ok(self::add(&trial, "split-words@0.7.0"));
    let digests = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains("sha256:")).map(str::to_owned).collect()
    };
    assert_eq!(digests(&trial.text("millstream.lock")), digests(&lock));
    trial.write("millstream.lock", &lock);

    // The tag is moved: it gets the manifest of another version.
    let component = as_version("split-words", "0.8.0");
    let facts = PackageFacts::read(&component, "0.8.0").expect("it is a component");
    let manifest = EncodedPackage::pack(component, &facts).expect("it is a package").manifest;
    put_manifest(&server.host(), "/v2/team/split-words/manifests/0.7.0", &manifest);
    check_rejected(millstream_in(&trial, &add), 1, "was moved: it was sha256:");
    let another = trial.path("another");
    check_rejected(millstream_with(&trial, &another, &["run", "job.toml"]), 1, "was moved: it was sha256:");
    check_rejected(millstream_with(&trial, &another, &add), 1, "was moved: it was sha256:");
    trial.write("millstream.lock", "");
    check_rejected(millstream_with(&trial, &another, &add), 2, "the component describes itself as `split-words@0.8.0`");
    trial.write("millstream.lock", &lock);
    assert_eq!(trial.text("millstream.lock"), lock);

    drop(server);
    assert_ok(run(&trial));
    assert_ne!(millstream_with(&trial, &another, &["run", "job.toml"]).code, Some(0));
}

/// What a registry accepts from any client with write access.
fn put_manifest(host: &str, path: &str, manifest: &[u8]) {
    let mut stream = TcpStream::connect(host).expect("the registry listens");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        manifest.len()
    );
    stream.write_all(&[head.as_bytes(), manifest].concat()).expect("the registry reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("the registry answers");
    assert!(response.starts_with("HTTP/1.1 201"), "{response}");
}

#[test]
fn an_upgrade_by_path_is_checked_like_a_start() {
    let trial = trial("split-words@0.7.0");
    let source = "kind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" }";
    let job = JOB.replace("PLUGIN", "split-words@0.7.0").replace("clock = \"manual\"\n", "");
    trial.write("job.toml", job.replace(source, "kind = \"directory\"\npath = \"in\"\nformat = \"text\""));
    fs::create_dir(trial.path("in")).expect("a folder can be made");
    assert_ok(add(&trial, "split-words@0.7.0"));
    let mut command = trial.command(&["run", "job.toml", "--workers", "1"]);
    command.env("MILLSTREAM_STORE", trial.path("store")).env("MILLSTREAM_CONFIG", trial.path("config"));
    let running = Process::start(&mut command);
    wait_until("the job answers", || millstream_in(&trial, &["status", "job.toml"]).code == Some(0));

    let upgrade = || millstream_in(&trial, &["upgrade", "job.toml", "words", "registry/split-0.8.0.wasm"]);
    trial.write("config/policy.toml", "paths = false\n");
    let refused = upgrade();
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("allows no plugins by path"), "{}", refused.stderr);
    assert!(trial.text("job.toml").contains("plugin = \"split-words@0.7.0\""));
    fs::remove_file(trial.path("config/policy.toml")).expect("it can be removed");
    assert_ok(upgrade());
    assert!(trial.text("job.toml").contains("plugin = \"registry/split-0.8.0.wasm\""));
    drop(running);
}
