//! Packages in jobs: what `millstream add` pins is what runs, wherever the bytes are fetched from, and nothing else.

use millstream::internals::package::facts::PackageFacts;
use millstream::internals::package::manifest::PackedPackage;
use millstream_tests::package::{as_version, millstream_in, millstream_with};
use millstream_tests::{Ended, Feeder, Process, RegistryServer, Trial, plugin, root, until};
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

/// A trial with a job, and a folder as a registry with versions 0.7.0 and 0.8.0 of split-words.
fn trial(plugin: &str) -> Trial {
    let trial = Trial::new(&JOB.replace("PLUGIN", plugin));
    trial.write("input.jsonl", "[{\"value\": \"a b\"}, {\"value\": \"c\"}]\n");
    for version in ["0.7.0", "0.8.0"] {
        trial.write(&format!("registry/split-{version}.wasm"), as_version("split-words", version));
    }
    trial
}

fn good(ended: Ended) -> Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

/// Refused for a reason: this code, and these words on standard error.
fn refused(ended: Ended, code: i32, words: &str) {
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(code), "{told}");
    assert!(ended.stderr.contains(words), "no {words:?} in\n{told}");
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
fn what_is_added_is_what_runs() {
    let trial = trial("split-words@0.7.0");
    refused(run(&trial), 2, "`split-words@0.7.0` is not pinned in ");
    refused(run(&trial), 2, "job.toml:13: stage `words`: ");
    let told = good(add(&trial, "split-words@0.7.0")).stdout;
    assert!(told.contains("world      transform of millstream:plugin@0.1"), "{told}");
    assert!(told.contains("signed by  no one whose key you trust"), "{told}");
    assert_eq!(trial.text("job.toml"), JOB.replace("PLUGIN", "split-words@0.7.0"), "it was there already");
    good(run(&trial));
    assert_eq!(words(&trial), 3);

    // Without a version it is the newest one, and what the author wrote around it stays.
    let told = good(add(&trial, "split-words")).stdout;
    assert!(told.contains("stage `words` of job.toml has it instead of split-words@0.7.0"), "{told}");
    assert_eq!(trial.text("job.toml"), JOB.replace("PLUGIN", "split-words@0.8.0"));
    let lock: toml::Table = toml::from_str(&trial.text("millstream.lock")).expect("it is TOML");
    let packages = lock["package"].as_array().expect("packages");
    let versions: Vec<&str> = packages.iter().filter_map(|package| package["version"].as_str()).collect();
    assert_eq!(versions, ["0.7.0", "0.8.0"]);
    assert_eq!(packages[0]["registry"].as_str(), Some("registry"), "a relative path stays one");
    let mode = fs::metadata(trial.path("millstream.lock")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o400, 0o400);

    // Nothing is needed but the store.
    fs::remove_dir_all(trial.path("registry")).expect("it can be removed");
    good(run(&trial));
    good(millstream_in(&trial, &["verify", "job.toml"]));
    good(millstream_in(&trial, &["validate", "job.toml"]));
}

/// Who has signed a package is known wherever the job is looked at, and follows an upgrade.
#[test]
fn a_job_says_who_has_signed_its_packages() {
    let feeder = Feeder::start(|n| format!("a{n} b\n"));
    let trial = trial("none@1.0.0");
    trial.change(
        "kind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" }",
        &format!("kind = \"socket\"\naddress = \"127.0.0.1:{}\"", feeder.port()),
    );
    trial.change("batch = \"1s\"\nclock = \"manual\"", "batch = \"20ms\"");
    good(millstream_in(&trial, &["key", "new", "alice"]));
    let shown = good(millstream_in(&trial, &["key", "show", "alice"])).stdout;
    let key = shown.split_whitespace().find(|word| word.starts_with("ed25519:")).expect("a key");
    good(millstream_in(&trial, &["key", "trust", "alice", key]));
    let push = |version: &str, sign: &[&str]| {
        let file = format!("registry/split-{version}.wasm");
        good(millstream_in(&trial, &[&["push", &file, "--registry", "signed"], sign].concat()));
    };
    push("0.7.0", &["--sign", "alice"]);
    push("0.8.0", &[]);
    good(millstream_in(
        &trial,
        &["add", "split-words@0.7.0", "--registry", "signed", "--stage", "words", "--job", "job.toml"],
    ));
    let mut command = trial.command(&["run", "job.toml"]);
    command.env("MILLSTREAM_STORE", trial.path("store")).env("MILLSTREAM_CONFIG", trial.path("config"));
    let mut job = Process::start(&mut command);
    // The sink's file is there before the job can be asked.
    job.until("rows come", |_| trial.path("out.jsonl").exists() && !trial.rows("out.jsonl").is_empty());
    let signers = || {
        let told = millstream_in(&trial, &["status", "job.toml", "--json"]).stdout;
        let told: Value = serde_json::from_str(&told).unwrap_or_default();
        let plugin = &told["stages"][0]["plugin"];
        plugin["signed_by"].clone()
    };
    assert_eq!(signers(), json!(["alice"]));
    let words = good(millstream_in(&trial, &["status", "job.toml"])).stdout;
    assert!(words.contains("signed  by alice"), "{words}");
    good(millstream_in(
        &trial,
        &["upgrade", "job.toml", "words", "split-words@0.8.0", "--registry", "signed", "--accept"],
    ));
    assert_eq!(signers(), json!([]));
    good(millstream_in(&trial, &["upgrade", "job.toml", "words", "registry/split-0.7.0.wasm", "--accept"]));
    assert_eq!(signers(), Value::Null, "a file");
    job.stop();
}

#[test]
fn another_machine_fetches_what_is_locked() {
    let trial = trial("plugins/none");
    good(add(&trial, "split-words@0.7.0"));
    let store = trial.path("another/store");
    refused(millstream_with(&trial, &store, &["verify", "job.toml"]), 1, "");
    let ended = good(millstream_with(&trial, &store, &["run", "job.toml", "--workers", "1"]));
    assert!(ended.stderr.contains("fetching split-words@0.7.0 from "), "{}", ended.stderr);
    assert_eq!((words(&trial), stored(&store).len()), (3, 2));
    let ended = good(millstream_with(&trial, &store, &["run", "job.toml", "--workers", "1"]));
    assert!(!ended.stderr.contains("fetching"), "{}", ended.stderr);

    fs::remove_dir_all(trial.path("registry")).expect("it can be removed");
    let third = trial.path("third");
    refused(millstream_with(&trial, &third, &["run", "job.toml"]), 2, "registry is not an existing directory");
    assert!(stored(&third).is_empty());
}

#[test]
fn a_version_that_was_moved_is_refused() {
    let trial = trial("plugins/none");
    good(add(&trial, "split-words@0.7.0"));
    let files = || (trial.text("job.toml"), trial.text("millstream.lock"));
    let before = files();
    let mut other = as_version("split-words", "0.7.0");
    other.extend(millstream_tests::package::custom_section("something", b"else"));
    trial.write("registry/split-0.7.0.wasm", &other);

    refused(add(&trial, "split-words@0.7.0"), 1, "was moved: it was sha256:");
    // On a machine that has never seen it, the lock file tells.
    let store = trial.path("another/store");
    refused(millstream_with(&trial, &store, &["run", "job.toml"]), 1, "was moved: it was sha256:");
    let arguments = ["add", "split-words@0.7.0", "--registry", "registry", "--stage", "words"];
    refused(millstream_with(&trial, &trial.path("third"), &arguments), 1, "was moved: it was sha256:");
    // Not even where it is said to come from somewhere else.
    fs::rename(trial.path("registry"), trial.path("elsewhere")).expect("a folder can be moved");
    let arguments = ["add", "split-words@0.7.0", "--registry", "elsewhere", "--stage", "words"];
    refused(millstream_with(&trial, &trial.path("third"), &arguments), 2, "must never change");
    assert_eq!(files(), before);
    // What is pinned runs all the same.
    good(run(&trial));
    assert_eq!(words(&trial), 3);
}

#[test]
fn damage_in_the_store_is_told_and_mended() {
    let trial = trial("plugins/none");
    good(add(&trial, "split-words@0.7.0"));
    good(millstream_in(&trial, &["verify"]));
    for file in stored(&trial.path("store")) {
        let bytes = fs::read(&file).expect("it can be read");
        let mut damaged = bytes.clone();
        let last = damaged.last_mut().expect("it is not empty");
        *last ^= 1;
        fs::write(&file, damaged).expect("it can be written");
        refused(run(&trial), 1, "does not match its digest");
        for arguments in [&["verify"][..], &["verify", "job.toml"]] {
            let ended = millstream_in(&trial, arguments);
            assert_eq!(ended.code, Some(1));
            assert!(ended.stdout.contains("does not match its digest"), "{}", ended.stdout);
        }
        // As the message says.
        fs::remove_file(&file).expect("it can be removed");
        good(run(&trial));
        assert_eq!(words(&trial), 3);
        assert_eq!(fs::read(&file).expect("it was fetched again"), bytes);
        fs::remove_file(trial.path("out.jsonl")).expect("it can be removed");
    }
    good(millstream_in(&trial, &["verify"]));
}

#[test]
fn an_update_that_is_something_else_must_be_accepted() {
    let trial = trial(&plugin("running-count").display().to_string());
    let before = trial.text("job.toml");
    refused(add(&trial, "split-words@0.7.0"), 2, "differs from what stage `words` has now");
    refused(add(&trial, "split-words@0.7.0"), 2, "add --accept");
    assert_eq!((trial.text("job.toml"), trial.text("millstream.lock")), (before, String::new()));
    let accepted = ["add", "split-words@0.7.0", "--registry", "registry", "--stage", "words", "--accept"];
    good(millstream_in(&trial, &accepted));
    assert_eq!(trial.text("job.toml"), JOB.replace("PLUGIN", "split-words@0.7.0"));
    good(run(&trial));
}

#[test]
fn what_no_lock_file_needs_is_removed() {
    let trial = trial("plugins/none");
    let store = trial.path("store");
    good(add(&trial, "split-words@0.7.0"));
    trial.write("other/job.toml", JOB);
    let other = ["add", "split-words@0.8.0", "--registry", "registry", "--job", "other/job.toml"];
    good(millstream_in(&trial, &other));
    assert_eq!(stored(&store).len(), 4);
    assert!(good(millstream_in(&trial, &["gc"])).stdout.contains("removed 0 files"));
    fs::remove_file(trial.path("other/millstream.lock")).expect("it can be removed");
    let told = good(millstream_in(&trial, &["gc"])).stdout;
    assert!(
        told.contains("other/millstream.lock does not exist any longer") && told.contains("removed 2 files"),
        "{told}"
    );
    assert_eq!(stored(&store).len(), 2);
    fs::remove_dir_all(trial.path("registry")).expect("it can be removed");
    good(run(&trial));
}

#[test]
fn several_who_add_at_once_lose_nothing() {
    let trial = trial("plugins/none");
    let versions: Vec<String> = (1..=6).map(|number| format!("1.{number}.0")).collect();
    for version in &versions {
        trial.write(&format!("registry/split-{version}.wasm"), as_version("split-words", version));
    }
    std::thread::scope(|scope| {
        for version in &versions {
            let reference = format!("split-words@{version}");
            let trial = &trial;
            scope.spawn(move || good(millstream_in(trial, &["add", &reference, "--registry", "registry"])));
        }
    });
    let lock: toml::Table = toml::from_str(&trial.text("millstream.lock")).expect("it is TOML");
    assert_eq!(lock["package"].as_array().map(Vec::len), Some(versions.len()));
    assert_eq!(stored(&trial.path("store")).len(), 2 * versions.len());
}

#[test]
fn where_packages_come_from() {
    let trial = trial("plugins/none");
    let bare = ["add", "split-words@0.7.0", "--stage", "words"];
    refused(millstream_in(&trial, &bare), 2, "no registry given");
    trial.write("config/config.toml", "registry = \"registry\"");
    refused(millstream_in(&trial, &bare), 2, "`registry` is a relative path");
    trial.write("config/config.toml", format!("registry = {:?}\n", trial.path("registry")));
    good(millstream_in(&trial, &bare));
    let lock: toml::Table = toml::from_str(&trial.text("millstream.lock")).expect("it is TOML");
    let registry = fs::canonicalize(trial.path("registry")).expect("it is there");
    assert_eq!(lock["package"][0]["registry"].as_str(), registry.to_str());
    // A newer one is looked for where the lock file has it from.
    trial.write("config/config.toml", "registry = \"/nowhere\"\n");
    good(millstream_in(&trial, &["add", "split-words", "--stage", "words"]));
    assert!(trial.text("job.toml").contains("plugin = \"split-words@0.8.0\""));
    // The checkout's own plugins are a registry.
    let own = root().join("plugins").display().to_string();
    good(millstream_in(&trial, &["add", "running-count", "--registry", &own]));
}

#[test]
fn nobody_can_say_that_a_package_came_from_somewhere_else() {
    let trial = trial("plugins/none");
    good(add(&trial, "split-words@0.7.0"));
    let lock = trial.text("millstream.lock");
    // The store holds these bytes, but not from there.
    trial.write("millstream.lock", lock.replace("registry = \"registry\"", "registry = \"elsewhere\""));
    refused(run(&trial), 2, "elsewhere is not an existing directory");
    fs::create_dir(trial.path("elsewhere")).expect("a folder can be made");
    assert_ne!(run(&trial).code, Some(0));
    trial.write("millstream.lock", lock.replace("layer = \"sha256:", "layer = \"sha256:0"));
    refused(run(&trial), 2, "is not a digest");
    trial.write("millstream.lock", lock);
    good(run(&trial));
}

#[test]
fn the_wrong_job_or_stage_is_said_before_anything_is_fetched() {
    let trial = trial("plugins/none");
    let to = |job: &str, stage: &str| {
        millstream_in(&trial, &["add", "split-words", "--registry", "registry", "--job", job, "--stage", stage])
    };
    refused(to("none.toml", "words"), 2, "none.toml: file not found");
    refused(to("job.toml", "wrods"), 2, "stage `wrods`: no such stage");
    trial.write("sql.toml", JOB.replace("plugin = \"PLUGIN\"", "sql = \"select 1 as n\""));
    refused(to("sql.toml", "words"), 2, "a stage has one operator, and this one has `plugin` and `sql`");
    assert!(trial.text("sql.toml").contains("sql = ") && !trial.path("millstream.lock").exists());
    fs::remove_dir_all(trial.path("store")).expect("it can be removed");
    let ended = millstream_in(&trial, &["add", "split-words@1", "--registry", "registry"]);
    refused(ended, 2, "`1` is not a valid version");
    assert!(!trial.path("store").exists() && !trial.path("millstream.lock").exists());
}

#[test]
fn a_stage_without_a_plugin_gets_one_and_both_move_together() {
    let trial = trial("plugins/none");
    let bare = JOB.replace("plugin = \"PLUGIN\"   # what splits\n", "");
    trial.write("here/job.toml", &bare);
    let arguments =
        ["add", "split-words@0.7.0", "--registry", "registry", "--job", "here/job.toml", "--stage", "words"];
    good(millstream_in(&trial, &arguments));
    assert_eq!(
        trial.text("here/job.toml"),
        bare.replace("from = \"lines\"\n", "from = \"lines\"\nplugin = \"split-words@0.7.0\"\n")
    );
    // The folders of job and registry go somewhere else together, to a user with an empty store.
    for dir in ["here", "registry"] {
        let to = trial.path("moved").join(dir);
        fs::create_dir_all(trial.path("moved")).expect("a folder can be made");
        fs::rename(trial.path(dir), to).expect("a folder can be moved");
    }
    trial.write("moved/here/input.jsonl", "[{\"value\": \"a b\"}]\n");
    let ended = millstream_with(&trial, &trial.path("another"), &["run", "moved/here/job.toml", "--workers", "1"]);
    good(ended);
    assert_eq!(trial.rows("moved/here/out.jsonl").len(), 2);
}

#[test]
fn a_batch_runs_again_as_it_was_after_its_package_has_gone() {
    let trial = trial("plugins/none");
    let job = format!("{}\n[checkpoint]\ndir = \"state\"\nevery = 100\n", JOB.replace("PLUGIN", "plugins/none"));
    trial.write("job.toml", job);
    good(add(&trial, "split-words@0.7.0"));
    good(run(&trial));
    fs::remove_dir_all(trial.path("registry")).expect("it can be removed");
    fs::remove_dir_all(trial.path("store")).expect("it can be removed");
    let arguments = ["replay", "job.toml", "--batch", "1", "--as-it-was"];
    let ended = good(millstream_in(&trial, &arguments));
    assert!(ended.stdout.contains('a'), "{}", ended.stdout);
}

#[test]
fn a_registry_of_the_network_is_needed_once() {
    let server = RegistryServer::start();
    let trial = trial("plugins/none");
    let url = server.url();
    for version in ["0.7.0", "0.8.0"] {
        good(millstream_in(&trial, &["push", &format!("registry/split-{version}.wasm"), "--registry", &url]));
    }
    let add = ["add", "split-words@0.7.0", "--registry", &url, "--stage", "words"];
    good(millstream_in(&trial, &add));
    let lock = trial.text("millstream.lock");
    assert!(lock.contains(&format!("registry = \"{url}\"")), "{lock}");
    good(run(&trial));
    // The same digests, whether it was pushed or not.
    trial.write("millstream.lock", "");
    refused(millstream_in(&trial, &["verify", "job.toml"]), 1, "");
    good(self::add(&trial, "split-words@0.7.0"));
    let digests = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains("sha256:")).map(str::to_owned).collect()
    };
    assert_eq!(digests(&trial.text("millstream.lock")), digests(&lock));
    trial.write("millstream.lock", &lock);

    // Somebody moves the tag: the manifest of another version is put there.
    let component = as_version("split-words", "0.8.0");
    let facts = PackageFacts::of(&component, "0.8.0").expect("it is a component");
    let manifest = PackedPackage::of(component, &facts).expect("it is a package").manifest;
    put_manifest(&server.host(), "/v2/team/split-words/manifests/0.7.0", &manifest);
    refused(millstream_in(&trial, &add), 1, "was moved: it was sha256:");
    let another = trial.path("another");
    refused(millstream_with(&trial, &another, &["run", "job.toml"]), 1, "was moved: it was sha256:");
    refused(millstream_with(&trial, &another, &add), 1, "was moved: it was sha256:");
    trial.write("millstream.lock", "");
    refused(millstream_with(&trial, &another, &add), 2, "the component describes itself as `split-words@0.8.0`");
    trial.write("millstream.lock", &lock);
    assert_eq!(trial.text("millstream.lock"), lock);

    drop(server);
    good(run(&trial));
    assert_ne!(millstream_with(&trial, &another, &["run", "job.toml"]).code, Some(0));
}

/// What a registry takes from whoever may write to it.
fn put_manifest(host: &str, path: &str, manifest: &[u8]) {
    let mut stream = TcpStream::connect(host).expect("the registry listens");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        manifest.len()
    );
    stream.write_all(&[head.as_bytes(), manifest].concat()).expect("the registry reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the registry answers");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[test]
fn an_upgrade_by_path_is_asked_about_as_a_start_is() {
    let trial = trial("split-words@0.7.0");
    let source = "kind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" }";
    let job = JOB.replace("PLUGIN", "split-words@0.7.0").replace("clock = \"manual\"\n", "");
    trial.write("job.toml", job.replace(source, "kind = \"directory\"\npath = \"in\"\nformat = \"text\""));
    fs::create_dir(trial.path("in")).expect("a folder can be made");
    good(add(&trial, "split-words@0.7.0"));
    let mut command = trial.command(&["run", "job.toml", "--workers", "1"]);
    command.env("MILLSTREAM_STORE", trial.path("store")).env("MILLSTREAM_CONFIG", trial.path("config"));
    let running = Process::start(&mut command);
    until("the job answers", || millstream_in(&trial, &["status", "job.toml"]).code == Some(0));

    let upgrade = || millstream_in(&trial, &["upgrade", "job.toml", "words", "registry/split-0.8.0.wasm"]);
    trial.write("config/policy.toml", "paths = false\n");
    let refused = upgrade();
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("allows no plugins by path"), "{}", refused.stderr);
    assert!(trial.text("job.toml").contains("plugin = \"split-words@0.7.0\""));
    fs::remove_file(trial.path("config/policy.toml")).expect("it can be removed");
    good(upgrade());
    assert!(trial.text("job.toml").contains("plugin = \"registry/split-0.8.0.wasm\""));
    drop(running);
}
