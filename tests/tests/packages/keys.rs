//! `millstream key`: keys are created, shown, trusted, rotated and revoked, and no one else can read them.

use millstream_tests::{Ended, Process, Trial, plugin};
use std::os::unix::fs::{PermissionsExt, symlink};

/// `millstream key …` with settings of its own.
fn key(trial: &Trial, arguments: &[&str]) -> Ended {
    let mut command = trial.command(&[&["key"], arguments].concat());
    Process::start(command.env("MILLSTREAM_CONFIG", trial.path("config"))).wait()
}

fn run_ok(trial: &Trial, arguments: &[&str]) -> String {
    let ended = key(trial, arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}: {}", ended.stdout);
    ended.stdout
}

fn rejection(trial: &Trial, arguments: &[&str]) -> String {
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
fn a_key_is_created_once_and_can_be_rotated() {
    let trial = Trial::new("");
    assert!(run_ok(&trial, &["list"]).contains("no keys yet"));
    let first = found(&run_ok(&trial, &["new", "alice"]));
    assert!(
        rejection(&trial, &["new", "alice"])
            .contains("key alice already exists: TRIAL/config/keys/alice.secret; --rotate")
    );
    assert_eq!(found(&run_ok(&trial, &["show", "alice"])), first);
    let second = found(&run_ok(&trial, &["new", "alice", "--rotate"]));
    assert_ne!(first, second);
    assert_eq!(run_ok(&trial, &["show", "alice"]), format!("millstream key trust alice {second}\n"));
    let list = run_ok(&trial, &["list"]);
    assert_eq!(list, format!("your keys:\n  alice  {second}\n  alice  {first}  retired\n"));
    // Another user's directory does not count.
    assert!(rejection(&trial, &["show", "bob"]).contains("key bob not found"));
    for name in ["", "../alice", "Alice", "a/b", "-", "a--b", "alice\n", &"a".repeat(65)] {
        assert!(!rejection(&trial, &["new", "--", name]).is_empty());
    }
}

#[test]
fn a_secret_key_is_readable_only_by_its_user() {
    let trial = Trial::new("");
    run_ok(&trial, &["new", "alice"]);
    let secret = trial.path("config/keys/alice.secret");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(secret.clone()), mode(trial.path("config/keys"))), (0o600, 0o700));
    let set = |path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    set(secret.clone(), 0o644);
    assert!(rejection(&trial, &["list"]).contains("that only this user can access (mode 0600)"));
    set(secret.clone(), 0o600);
    set(trial.path("config/keys"), 0o755);
    assert!(rejection(&trial, &["new", "bob"]).contains("that only this user can access (mode 0700)"));
    set(trial.path("config/keys"), 0o700);
    let text = std::fs::read_to_string(&secret).unwrap();
    let hidden =
        text.lines().find_map(|line| line.strip_prefix("secret = \"")).unwrap().trim_end_matches('"').to_owned();
    assert_eq!(hidden.len(), 64);
    let seen = [run_ok(&trial, &["list"]), run_ok(&trial, &["show", "alice"])].concat();
    assert!(!seen.contains(&hidden[..16]));
    // A damaged file is reported without its content.
    trial.write("config/keys/alice.secret", text.replace("secret = ", "secret "));
    let output = rejection(&trial, &["list"]);
    assert!(output.contains("alice.secret: it is damaged") && !output.contains(&hidden[..16]), "{output}");
    std::fs::rename(&secret, trial.path("elsewhere")).unwrap();
    symlink(trial.path("elsewhere"), &secret).unwrap();
    rejection(&trial, &["list"]);
}

#[test]
fn keys_are_trusted_and_revoked() {
    let trial = Trial::new("");
    let [alice, bob] = ["1", "2"].map(|digit| format!("ed25519:{}", digit.repeat(64)));
    let manifest = format!("sha256:{}", "a".repeat(64));
    run_ok(&trial, &["trust", "alice", &alice]);
    run_ok(&trial, &["trust", "alice", &alice]);
    assert!(
        rejection(&trial, &["trust", "bob", &alice])
            .contains("is already the key of alice; a key belongs to one signer")
    );
    run_ok(&trial, &["trust", "bob", &bob]);
    assert!(run_ok(&trial, &["revoke", &bob]).contains("is revoked: its signatures are no longer accepted"));
    run_ok(&trial, &["revoke", &manifest]);
    assert!(rejection(&trial, &["trust", "bob", &bob]).contains("is revoked and can no longer be trusted"));
    assert!(rejection(&trial, &["revoke", "bob"]).contains("is neither a key"));
    let list = run_ok(&trial, &["list"]).replace(&trial.dir().display().to_string(), "TRIAL");
    let expected = format!(
        "trusted:\n  alice  {alice}  keys/trusted.toml\n  bob  {bob}  keys/trusted.toml  revoked\nrevoked:\n  {bob}\n  {manifest}\n"
    );
    assert_eq!(list, expected);
    // Written by hand or damaged: nothing is lost, and the position is reported.
    trial.write("config/keys/trusted.toml", "signers = 1");
    assert!(
        rejection(&trial, &["trust", "bob", &bob])
            .contains("TRIAL/config/keys/trusted.toml: TOML parse error at line 1")
    );
    assert_eq!(trial.text("config/keys/trusted.toml"), "signers = 1");
}

/// A policy that is unknown, or that another user may write, permits nothing.
#[test]
fn policies_do_not_fail_open() {
    let trial = Trial::new(
        "clock = \"manual\"\n[sources.in]\nkind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" \
         }\n[stages.s]\nfrom = \"in\"\nplugin = \"PLUGIN\"\n[sinks.out]\nfrom = \"s\"\nkind = \"queue\"\npath = \
         \"out.jsonl\"\n",
    );
    let message = plugin("split-words").display().to_string();
    trial.write("job.toml", trial.text("job.toml").replace("PLUGIN", &message));
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
    let rejection = |config: Option<&str>, output: &str| {
        let ended = run(config);
        assert!(matches!(ended.code, Some(1 | 2)) && ended.stderr.contains(output), "{output}: {}", ended.stderr);
        assert_eq!(trial.text("out.jsonl"), "");
    };
    rejection(None, "neither HOME nor MILLSTREAM_CONFIG is set, so your policy and your revoked keys are unknown");
    assert_eq!(run(Some("none")).code, Some(0), "no settings are none");

    let set = |path: &str, mode| std::fs::set_permissions(trial.path(path), PermissionsExt::from_mode(mode)).unwrap();
    trial.write("config/policy.toml", "paths = true\n");
    assert_eq!(run(Some("config")).code, Some(0));
    for (path, mode) in
        [("config/policy.toml", 0o664), ("config/policy.toml", 0o646), ("config", 0o775), ("config", 0o777)]
    {
        let before = std::fs::metadata(trial.path(path)).unwrap().permissions();
        set(path, mode);
        rejection(Some("config"), "it is not applied: other users can write to ");
        std::fs::set_permissions(trial.path(path), before).unwrap();
    }
    // The absence of something that another user can remove proves nothing.
    trial.write("open/.keep", "");
    set("open", 0o777);
    rejection(Some("open"), "other users can write to ");
    // A directory above, and the trusted keys.
    trial.write("above/config/policy.toml", "paths = true\n");
    set("above", 0o777);
    rejection(Some("above/config"), "other users can write to ");
    trial.write("trusting/keys/trusted.toml", "");
    set("trusting/keys/trusted.toml", 0o666);
    rejection(Some("trusting"), "other users can write to ");
    if std::os::unix::fs::chown(trial.path("config/policy.toml"), Some(65_534), None).is_ok() {
        rejection(Some("config"), " belongs to user 65534");
    }
}
