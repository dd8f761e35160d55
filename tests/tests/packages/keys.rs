//! `millstream key`: keys are made, shown, trusted, rotated and revoked, and nobody else can read them.

use millstream_tests::{Ended, Process, Trial, plugin};
use std::os::unix::fs::{PermissionsExt, symlink};

/// `millstream key …` with settings of its own.
fn key(trial: &Trial, arguments: &[&str]) -> Ended {
    let mut command = trial.command(&[&["key"], arguments].concat());
    Process::start(command.env("MILLSTREAM_CONFIG", trial.path("config"))).wait()
}

fn well(trial: &Trial, arguments: &[&str]) -> String {
    let ended = key(trial, arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}: {}", ended.stdout);
    ended.stdout
}

fn refused(trial: &Trial, arguments: &[&str]) -> String {
    let ended = key(trial, arguments);
    assert_ne!(ended.code, Some(0), "{arguments:?}: {}", ended.stdout);
    assert_eq!(ended.stdout, "");
    ended.stderr.replace(&trial.dir().display().to_string(), "TRIAL")
}

/// The first key in a text.
fn found(text: &str) -> String {
    let at = text.find("ed25519:").unwrap_or_else(|| panic!("no key in {text}"));
    text[at..at + 72].to_owned()
}

#[test]
fn a_key_is_made_once_and_another_takes_its_place() {
    let trial = Trial::new("");
    assert!(well(&trial, &["list"]).contains("no keys yet"));
    let first = found(&well(&trial, &["new", "alice"]));
    assert!(
        refused(&trial, &["new", "alice"])
            .contains("key alice already exists: TRIAL/config/keys/alice.secret; --rotate")
    );
    assert_eq!(found(&well(&trial, &["show", "alice"])), first);
    let second = found(&well(&trial, &["new", "alice", "--rotate"]));
    assert_ne!(first, second);
    assert_eq!(well(&trial, &["show", "alice"]), format!("millstream key trust alice {second}\n"));
    let list = well(&trial, &["list"]);
    assert_eq!(list, format!("your keys:\n  alice  {second}\n  alice  {first}  retired\n"));
    // Another user's folder is none of theirs.
    assert!(refused(&trial, &["show", "bob"]).contains("no key of bob is known"));
    for name in ["", "../alice", "Alice", "a/b", "-", "a--b", "alice\n", &"a".repeat(65)] {
        assert!(!refused(&trial, &["new", "--", name]).is_empty());
    }
}

#[test]
fn a_secret_key_is_its_users_alone() {
    let trial = Trial::new("");
    well(&trial, &["new", "alice"]);
    let secret = trial.path("config/keys/alice.secret");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(secret.clone()), mode(trial.path("config/keys"))), (0o600, 0o700));
    let set = |path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    set(secret.clone(), 0o644);
    assert!(refused(&trial, &["list"]).contains("that only this user may use (mode 0600)"));
    set(secret.clone(), 0o600);
    set(trial.path("config/keys"), 0o755);
    assert!(refused(&trial, &["new", "bob"]).contains("that only this user may use (mode 0700)"));
    set(trial.path("config/keys"), 0o700);
    let text = std::fs::read_to_string(&secret).unwrap();
    let hidden =
        text.lines().find_map(|line| line.strip_prefix("secret = \"")).unwrap().trim_end_matches('"').to_owned();
    assert_eq!(hidden.len(), 64);
    let seen = [well(&trial, &["list"]), well(&trial, &["show", "alice"])].concat();
    assert!(!seen.contains(&hidden[..16]));
    // What is damaged is told without its words.
    trial.write("config/keys/alice.secret", text.replace("secret = ", "secret "));
    let told = refused(&trial, &["list"]);
    assert!(told.contains("alice.secret: it is damaged") && !told.contains(&hidden[..16]), "{told}");
    std::fs::rename(&secret, trial.path("elsewhere")).unwrap();
    symlink(trial.path("elsewhere"), &secret).unwrap();
    refused(&trial, &["list"]);
}

#[test]
fn keys_are_trusted_and_revoked() {
    let trial = Trial::new("");
    let [alice, bob] = ["1", "2"].map(|digit| format!("ed25519:{}", digit.repeat(64)));
    let manifest = format!("sha256:{}", "a".repeat(64));
    well(&trial, &["trust", "alice", &alice]);
    well(&trial, &["trust", "alice", &alice]);
    assert!(
        refused(&trial, &["trust", "bob", &alice]).contains("is already the key of alice; a key belongs to one signer")
    );
    well(&trial, &["trust", "bob", &bob]);
    assert!(well(&trial, &["revoke", &bob]).contains("is revoked: its signatures are no longer accepted"));
    well(&trial, &["revoke", &manifest]);
    assert!(refused(&trial, &["trust", "bob", &bob]).contains("is revoked and can no longer be trusted"));
    assert!(refused(&trial, &["revoke", "bob"]).contains("is neither a key"));
    let list = well(&trial, &["list"]).replace(&trial.dir().display().to_string(), "TRIAL");
    let wanted = format!(
        "trusted:\n  alice  {alice}  keys/trusted.toml\n  bob  {bob}  keys/trusted.toml  revoked\nrevoked:\n  {bob}\n  {manifest}\n"
    );
    assert_eq!(list, wanted);
    // Written by hand or damaged: nothing is lost, and it is said where.
    trial.write("config/keys/trusted.toml", "signers = 1");
    assert!(
        refused(&trial, &["trust", "bob", &bob]).contains("TRIAL/config/keys/trusted.toml: TOML parse error at line 1")
    );
    assert_eq!(trial.text("config/keys/trusted.toml"), "signers = 1");
}

/// A policy that is not known, or that somebody else may write, lets nothing pass.
#[test]
fn policies_do_not_fail_open() {
    let trial = Trial::new(
        "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" \
         }\n[stages.s]\nfrom = \"in\"\nplugin = \"PLUGIN\"\n[sinks.out]\nfrom = \"s\"\nkind = \"queue\"\npath = \
         \"out.jsonl\"\n",
    );
    let words = plugin("split-words").display().to_string();
    trial.write("job.toml", trial.text("job.toml").replace("PLUGIN", &words));
    trial.write("input.jsonl", "[{\"value\":\"a\"}]\n");
    let run = |config: Option<&str>| {
        let mut command = trial.command(&["run", "job.toml"]);
        for name in ["HOME", "XDG_CONFIG_HOME", "MILLSTREAM_CONFIG"] {
            command.env_remove(name);
        }
        command.env("XDG_CACHE_HOME", trial.path("cache")).env("XDG_STATE_HOME", trial.path("state"));
        command.envs(config.map(|dir| ("MILLSTREAM_CONFIG", trial.path(dir))));
        let _ = std::fs::remove_file(trial.path("out.jsonl"));
        Process::start(&mut command).wait()
    };
    let refused = |config: Option<&str>, told: &str| {
        let ended = run(config);
        assert!(matches!(ended.code, Some(1 | 2)) && ended.stderr.contains(told), "{told}: {}", ended.stderr);
        assert_eq!(trial.text("out.jsonl"), "");
    };
    refused(None, "neither HOME nor MILLSTREAM_CONFIG is set, so your policy and what you have revoked are unknown");
    assert_eq!(run(Some("none")).code, Some(0), "no settings are none");

    let set = |path: &str, mode| std::fs::set_permissions(trial.path(path), PermissionsExt::from_mode(mode)).unwrap();
    trial.write("config/policy.toml", "paths = true\n");
    assert_eq!(run(Some("config")).code, Some(0));
    for (path, mode) in
        [("config/policy.toml", 0o664), ("config/policy.toml", 0o646), ("config", 0o775), ("config", 0o777)]
    {
        let before = std::fs::metadata(trial.path(path)).unwrap().permissions();
        set(path, mode);
        refused(Some("config"), "it is not applied: others may write ");
        std::fs::set_permissions(trial.path(path), before).unwrap();
    }
    // What somebody may take away says nothing by not being there.
    trial.write("open/.keep", "");
    set("open", 0o777);
    refused(Some("open"), "others may write ");
    // A folder above, and the keys that are trusted.
    trial.write("above/config/policy.toml", "paths = true\n");
    set("above", 0o777);
    refused(Some("above/config"), "others may write ");
    trial.write("trusting/keys/trusted.toml", "");
    set("trusting/keys/trusted.toml", 0o666);
    refused(Some("trusting"), "others may write ");
    if std::os::unix::fs::chown(trial.path("config/policy.toml"), Some(65_534), None).is_ok() {
        refused(Some("config"), " belongs to user 65534");
    }
}
