use super::*;
use crate::trust::key::SecretKey;
use crate::trust::signature::sign;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const REGISTRY: &str = "oci://registry.example.com/team";

/// A machine with an operator's policy and a user's.
struct TestMachine {
    dir: TempDir,
}

impl TestMachine {
    fn new(operators: &str, users: &str) -> TestMachine {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("config")).unwrap();
        fs::write(dir.path().join("operators.toml"), operators).unwrap();
        fs::write(dir.path().join("config/policy.toml"), users).unwrap();
        TestMachine { dir }
    }

    fn load(&self) -> Result<Policy> {
        Policy::read(&self.dir.path().join("operators.toml"), None, Some(&self.dir.path().join("config")))
    }

    /// The result of the policies for version 1.0.0 of `words`.
    fn check(&self, signatures: &[Vec<u8>]) -> Result<Vec<String>> {
        self.load()?.check(REGISTRY, &name(), &version("1.0.0"), &Digest::compute(b"it"), signatures)
    }

    fn rejection(&self, signatures: &[Vec<u8>]) -> String {
        let message = self.check(signatures).unwrap_err().message;
        message.replace(&self.dir.path().display().to_string(), "MACHINE")
    }
}

/// An owner of a key.
struct KeyHolder {
    _dir: TempDir,
    key: SecretKey,
}

impl KeyHolder {
    fn new(name: &str) -> KeyHolder {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretKey::make(&dir.path().join("keys"), &name.parse().unwrap(), false).unwrap();
        KeyHolder { _dir: dir, key }
    }

    fn public(&self) -> PublicKey {
        self.key.public().unwrap()
    }

    fn signs(&self) -> Vec<u8> {
        sign(&self.key, &name(), &version("1.0.0"), &Digest::compute(b"it")).unwrap()
    }
}

fn name() -> PackageName {
    "words".parse().unwrap()
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn require(what: &str, signers: &[&KeyHolder]) -> String {
    let keys = signers.iter().map(|person| format!("{} = [\"{}\"]\n", person.key.name, person.public()));
    format!("[[registry]]\nat = \"*\"\n{what}\n[signers]\n{}", keys.collect::<String>())
}

#[test]
fn without_policies_everything_may_be_used_and_nobody_is_trusted() {
    let machine = TestMachine::new("", "");
    assert_eq!(machine.check(&[]).unwrap(), Vec::<String>::new());
    assert_eq!(machine.check(&[KeyHolder::new("alice").signs(), b"{".to_vec()]).unwrap(), Vec::<String>::new());
    assert!(machine.load().unwrap().allows_path(Path::new("plugins/words")).is_ok());
}

#[test]
fn a_signature_counts_for_one_package_alone() {
    let alice = KeyHolder::new("alice");
    let machine = TestMachine::new("", &require("require = [\"alice\"]", &[&alice]));
    assert_eq!(machine.check(&[alice.signs()]).unwrap(), ["alice"]);
    let other = |name: &str, number: &str, bytes: &[u8]| {
        sign(&alice.key, &name.parse().unwrap(), &version(number), &Digest::compute(bytes)).unwrap()
    };
    for signature in [other("word", "1.0.0", b"it"), other("words", "1.0.1", b"it"), other("words", "1.0.0", b"other")]
    {
        assert!(machine.rejection(&[signature]).contains("alice has not signed it"));
    }
    let text = String::from_utf8(alice.signs()).unwrap();
    let mallory = KeyHolder::new("mallory");
    for (from, to) in [
        ("1.0.0", "1.0.00"),
        ("\"words\"", "\"word\""),
        (&*Digest::compute(b"it").hex(), &*Digest::compute(b"other").hex()),
        ("\"alice\"", "\"bob\""),
        ("\"signer\"", "\"since\":1,\"signer\""),
        (&*alice.public().to_string(), &*mallory.public().to_string()),
    ] {
        assert!(text.contains(from), "{text}");
        assert!(machine.rejection(&[text.replace(from, to).into_bytes()]).contains("alice has not signed it"));
    }
    // Each digit of the signature.
    let start = text.find("\"signature\":\"").unwrap() + 13;
    for at in start..start + 128 {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        machine.rejection(&[bytes]);
    }
    let many: Vec<_> = std::iter::repeat_n(mallory.signs(), PACKAGE_SIGNATURES_MAX).chain([alice.signs()]).collect();
    machine.rejection(&many);
}

#[test]
fn so_many_of_several_must_have_signed() {
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(KeyHolder::new);
    let rule = require("require = [\"alice\", \"bob\", \"carol\"]\nat_least = 2", &[&alice, &bob, &carol]);
    let machine = TestMachine::new(&rule, "");
    assert_eq!(machine.check(&[carol.signs(), alice.signs()]).unwrap(), ["alice", "carol"]);
    assert_eq!(
        machine.rejection(&[bob.signs(), bob.signs()]),
        "words@1.0.0 of oci://registry.example.com/team may not be used: MACHINE/operators.toml requires signatures of 2 of alice, \
         bob, carol, but alice, carol have not signed it"
    );
    assert!(machine.rejection(&[]).contains("alice, bob, carol have not signed it"));
}

#[test]
fn the_user_cannot_widen_what_the_operator_allows() {
    let [alice, mallory] = ["alice", "alice"].map(KeyHolder::new);
    let operators = require("require = [\"alice\"]", &[&alice]);
    let users = format!("[signers]\nalice = [\"{}\"]\n", mallory.public());
    let machine = TestMachine::new(&operators, &users);
    let message = machine.rejection(&[mallory.signs()]);
    assert!(message.contains("but uses an unknown key"), "{message}");
    assert_eq!(machine.check(&[alice.signs()]).unwrap(), ["alice"]);
    // A user's own policy does not accept user-defined keys for signers that the operator defines either.
    let machine = TestMachine::new(
        &format!("[signers]\nalice = [\"{}\"]\n", alice.public()),
        &require("require = [\"alice\"]", &[&mallory]),
    );
    machine.rejection(&[mallory.signs()]);

    let machine =
        TestMachine::new("allow = [\"oci://registry.example.com\"]\npaths = false", "allow = [\"*\"]\npaths = true");
    let policy = machine.load().unwrap();
    assert!(policy.allows(REGISTRY).is_ok());
    assert!(
        policy
            .allows("oci://elsewhere.example.com/team")
            .unwrap_err()
            .message
            .contains("operators.toml allows oci://reg")
    );
    assert!(policy.allows_path(Path::new("words")).unwrap_err().message.contains("`millstream add`"));
    assert!(TestMachine::new("allow = []", "").rejection(&[alice.signs()]).contains("allows none"));
    let machine = TestMachine::new("allow = [\"*\"]", "allow = []");
    assert!(machine.load().unwrap().allows(REGISTRY).unwrap_err().message.ends_with("config/policy.toml allows none"));
}

#[test]
fn what_is_revoked_counts_no_more_and_a_new_key_takes_its_place() {
    let [old, new] = ["alice", "alice"].map(KeyHolder::new);
    let keys =
        format!("alice = [\"{}\", \"{}\"]\n[revoked]\nkeys = [\"{}\"]", old.public(), new.public(), old.public());
    let machine = TestMachine::new("", &format!("[[registry]]\nat = \"*\"\nrequire = [\"alice\"]\n[signers]\n{keys}"));
    let message = machine.rejection(&[old.signs()]);
    assert!(
        message.contains("alice has not signed it\n  a signature of alice uses a revoked key: ed25519:"),
        "{message}"
    );
    assert_eq!(machine.check(&[old.signs(), new.signs()]).unwrap(), ["alice"]);

    let machine = TestMachine::new("", &format!("[signers]\n{keys}"));
    assert!(machine.rejection(&[old.signs()]).contains("its only signer is alice, with a revoked key"));
    assert_eq!(machine.check(&[]).unwrap(), Vec::<String>::new());
    assert_eq!(machine.check(&[old.signs(), new.signs()]).unwrap(), ["alice"]);

    let machine = TestMachine::new(&format!("[revoked]\nmanifests = [\"{}\"]", Digest::compute(b"it")), "");
    assert!(machine.rejection(&[new.signs()]).contains("operators.toml has revoked sha256:"));
}

#[test]
fn a_registry_is_the_same_however_it_is_written() {
    let machine = TestMachine::new("allow = [\"oci://Registry.example.com/team\", \"oci://localhost:5000\"]", "");
    let policy = machine.load().unwrap();
    for good in ["oci://REGISTRY.example.com:443/team", "oci://registry.example.com/team/a", "oci://localhost:5000/x"] {
        assert!(policy.allows(good).is_ok(), "{good}");
    }
    for bad in [
        "oci://registry.example.com/teams",
        "oci://registry.example.com/team/../other",
        "oci://registry.example.com/./team",
        "oci://registry.example.com//team",
        "oci://registry.example.com/te%61m",
        "oci://registry.example.com./team",
        "oci://user@registry.example.com/team",
        "oci://registry.example.com\\@localhost:5000/team",
        "oci://localhost:5001/x",
        "oci://localhost:05x00/x",
        "oci://localhost",
        "oci://",
        "https://registry.example.com/team",
        "file:///registry.example.com/team",
        "/registry.example.com/team",
    ] {
        assert!(policy.allows(bad).is_err(), "{bad}");
    }
    // A name with a trailing dot leads to the same host, and must not bypass the requirement.
    let rule = "[[registry]]\nat = \"oci://registry.example.com\"\nrequire = [\"alice\"]";
    let policy = TestMachine::new(rule, "").load().unwrap();
    let checked = |at| policy.check(at, &name(), &version("1.0.0"), &Digest::compute(b"it"), &[]);
    assert!(checked("oci://elsewhere.example.com/team").is_ok());
    for same in
        ["oci://registry.example.com/team", "oci://registry.example.com:443/a", "oci://registry.example.com./team"]
    {
        assert!(checked(same).is_err(), "{same}");
    }
}

#[test]
fn links_and_dots_lead_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::create_dir_all(path("good/inside")).unwrap();
    fs::create_dir_all(path("bad")).unwrap();
    symlink(path("bad"), path("good/link")).unwrap();
    symlink(path("good"), path("same")).unwrap();
    let [alice] = ["alice"].map(KeyHolder::new);
    let rule = |at: &str| require("require = [\"alice\"]", &[&alice]).replace('*', &path(at));
    let machine = TestMachine::new(&format!("allow = [\"{}\"]\n", path("good")), "");
    let policy = machine.load().unwrap();
    for good in ["good", "good/inside", "good/inside/../", "same/inside", "good/none/yet"] {
        assert!(policy.allows(&path(good)).is_ok(), "{good}");
    }
    for bad in ["bad", "good/link", "good/../bad", "goods", "good/none/../../../bad", "good/link/none"] {
        assert!(policy.allows(&path(bad)).is_err(), "{bad}");
    }
    // Both the owner of the path and its target count.
    for (at, registry) in [("bad", "good/link"), ("good", "good/link"), ("same", "good/inside"), ("good", "same")] {
        let policy = TestMachine::new(&rule(at), "").load().unwrap();
        let checked = policy.check(&path(registry), &name(), &version("1.0.0"), &Digest::compute(b"it"), &[]);
        assert!(checked.is_err(), "{at} {registry}");
    }
}

#[test]
fn a_policy_that_cannot_be_read_is_a_mistake_that_says_where() {
    let key = KeyHolder::new("alice").public();
    for (text, what) in [
        ("alow = []", "line 1, column 1"),
        ("allow = [\"registry.example.com\"]", "write \"*\", oci://HOST/PATH or the absolute path of a directory"),
        ("allow = [\"http://registry.example.com\"]", "is not a registry"),
        ("[[registry]]\nat = \"*\"\nrequire = []", "`require` is empty"),
        ("[[registry]]\nat = \"*\"\nrequire = [\"bob\", \"bob\"]\nat_least = 2", "`require` names a signer twice"),
        ("[[registry]]\nat = \"*\"\nrequire = [\"bob\"]\nat_least = 2", "`at_least` is 2; write a number of 1 to 1"),
        ("[[registry]]\nat = \"*\"\nrequire = [\"bob\"]\nat_least = 0", "`at_least` is 0"),
        ("[signers]\nbob = [\"ed25519:00\"]", "is not a signer key"),
        ("[signers]\n\"../bob\" = []", "is not a signer name"),
        ("[revoked]\nmanifests = [\"sha256:0\"]", "is not a digest"),
        (&format!("[signers]\nalice = [\"{key}\"]\nbob = [\"{key}\"]"), "alice and bob have the same key"),
    ] {
        let message = TestMachine::new("", text).load().unwrap_err().message;
        assert!(message.contains(what) && message.contains("config/policy.toml"), "{text}: {message}");
    }
    let twice = format!("[signers]\nalice = [\"{key}\"]\nbob = [\"{key}\"]");
    assert!(
        TestMachine::new(&twice, "")
            .load()
            .unwrap_err()
            .message
            .contains("operators.toml: alice and bob have the same key")
    );
    let machine = TestMachine::new("", &format!("[signers]\nalice = [\"{key}\"]"));
    let config = machine.dir.path().join("config");
    Trusted::change(&config, |trusted| {
        trusted.signers.insert("bob".parse()?, vec![key]);
        Ok(())
    })
    .unwrap();
    assert!(machine.load().unwrap_err().message.contains("alice and bob have the same key"));
    Trusted::change(&config, |trusted| {
        trusted.signers.clear();
        trusted.revoked.keys.insert(key);
        Ok(())
    })
    .unwrap();
    assert!(machine.load().unwrap().is_revoked(&key));
    let machine = TestMachine::new("", "");
    let file = machine.dir.path().join("operators.toml");
    fs::remove_file(&file).unwrap();
    assert!(machine.load().is_ok());
    symlink("/nowhere/at/all", &file).unwrap();
    assert!(machine.load().is_err(), "a link to nowhere");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(machine.load().unwrap_err().message.contains("it is not a file"));
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "#".repeat(1 << 21)).unwrap();
    assert!(machine.load().unwrap_err().message.contains("more than 1048576 bytes"));
    fs::write(&file, b"\xff").unwrap();
    assert!(machine.load().is_err());
}
