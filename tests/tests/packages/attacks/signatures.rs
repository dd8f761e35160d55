//! Packages without a trusted signature.

use super::case::{Attack, WAYS, Way, Workspace, check_all_rejected};
use super::goods::{Goods, NAME, VERSION, digest};
use millstream::internals::digest::Digest;
use millstream::internals::trust::key::SecretKey;
use millstream::internals::trust::signature;
use millstream_tests::{LyingRegistry, LyingResponse, Process, Then, plugin, wait_until};

/// A person with a key.
struct Person(SecretKey);

impl Person {
    fn new(name: &str) -> Person {
        let dir = tempfile::tempdir().expect("a folder");
        Person(SecretKey::make(&dir.path().join("keys"), &name.parse().expect("a name"), false).expect("a key"))
    }

    fn key(&self) -> String {
        self.0.public().expect("a key").to_string()
    }

    fn signs_as(&self, name: &str, version: &str, manifest: &[u8]) -> Vec<u8> {
        let (name, version) = (name.parse().expect("a name"), version.parse().expect("a version"));
        signature::sign(&self.0, &name, &version, &Digest::compute(manifest)).expect("a signature")
    }

    fn signs(&self, goods: &Goods) -> Vec<u8> {
        self.signs_as(NAME, VERSION, &goods.manifest)
    }
}

fn policy(require: &str, people: &[&Person]) -> String {
    let keys = people.iter().map(|person| format!("{} = [\"{}\"]\n", person.0.name, person.key()));
    format!("[[registry]]\nat = \"*\"\n{require}\n[signers]\n{}", keys.collect::<String>())
}

#[test]
fn trusted_signers_are_accepted() {
    let alice = Person::new("alice");
    let goods = Goods::honest();
    let goods = goods.clone().signed(alice.signs(&goods));
    let served = goods.clone();
    let registry = LyingRegistry::start(move |requested| served.answer(requested));
    let address = format!("oci://{}/team", registry.host());
    for way in WAYS {
        Workspace::new(&policy("require = [\"alice\"]", &[&alice])).attempt(way, &address, &goods).check_ok();
    }
}

#[test]
fn signatures_that_do_not_count() {
    let [alice, bob, mallory] = ["alice", "bob", "alice"].map(Person::new);
    let one = policy("require = [\"alice\"]", &[&alice, &bob]);
    let good = Goods::honest();
    let signed = |signature: Vec<u8>| good.clone().signed(signature);
    let text = String::from_utf8(alice.signs(&good)).expect("text");
    let edited = |from: &str, to: &str| text.replace(from, to).into_bytes();
    let last = text.rfind('"').expect("a signature");
    let tampered =
        [&text[..last - 1], if text.as_bytes()[last - 1] == b'0' { "1" } else { "0" }, &text[last..]].concat();
    let revoked = |what: String| format!("{one}\n[revoked]\n{what}");
    let mut cases = vec![
        ("unsigned", "alice has not signed it", one.clone(), good.clone()),
        ("by a revoked key", "revoked", revoked(format!("keys = [\"{}\"]", alice.key())), signed(alice.signs(&good))),
        (
            "by a revoked key, where nobody is asked for",
            "revoked",
            format!("[revoked]\nkeys = [\"{}\"]", alice.key()),
            signed(alice.signs(&good)),
        ),
        (
            "revoked itself",
            "has revoked",
            revoked(format!("manifests = [\"{}\"]", digest(&good.manifest))),
            signed(alice.signs(&good)),
        ),
        ("by somebody else of that name", "uses an unknown key", one.clone(), signed(mallory.signs(&good))),
        ("by somebody else", "alice has not signed it", one.clone(), signed(bob.signs(&good))),
        (
            "of another version",
            "alice has not signed it",
            one.clone(),
            signed(alice.signs_as(NAME, "0.0.9", &good.manifest)),
        ),
        (
            "of another name",
            "alice has not signed it",
            one.clone(),
            signed(alice.signs_as("other", VERSION, &good.manifest)),
        ),
        (
            "of another manifest",
            "alice has not signed it",
            one.clone(),
            signed(alice.signs_as(NAME, VERSION, b"other")),
        ),
        ("tampered with", "alice has not signed it", one.clone(), signed(tampered.into_bytes())),
        ("under another key", "alice has not signed it", one.clone(), signed(edited(&alice.key(), &mallory.key()))),
        ("with more in it", "alice has not signed it", one.clone(), signed(edited("{", "{\"more\":1,"))),
        ("no JSON", "alice has not signed it", one.clone(), signed(b"\xff\0".to_vec())),
        ("too large", "alice has not signed it", one.clone(), signed(vec![b' '; 1 << 20])),
        (
            "by one of two",
            "bob has not signed it",
            policy("require = [\"alice\", \"bob\"]", &[&alice, &bob]),
            signed(alice.signs(&good)).signed(alice.signs(&good)),
        ),
    ];
    let many = (0..1000).fold(good.clone(), |goods, at| goods.signed(format!("{at}").into_bytes()));
    cases.push(("a thousand signatures", "lists more than 64 signatures", one.clone(), many));
    let attack =
        |(name, says, policy, goods): (&str, &str, String, Goods)| Attack::new(name, says).policy(policy).goods(goods);
    let mut attacks: Vec<Attack> = cases.into_iter().map(attack).collect();
    let good = signed(alice.signs(&good));
    let kept = |name: &str, says: &str| Attack::new(name, says).goods(good.clone()).policy(one.clone());
    attacks.push(kept("signatures are kept back", "alice has not signed it").at("/referrers/", |_| {
        let none = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        LyingResponse::new(200, "application/vnd.oci.image.index.v1+json", none.as_bytes())
    }));
    attacks.push(kept("an endless list of signatures", "sent too much|3 seconds").at("/referrers/", |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\n\r\n";
        LyingResponse::raw(head).then(Then::Endless(vec![b' '; 1 << 20]))
    }));
    attacks.push(
        kept("no list of signatures", "sent an invalid reply")
            .at("/referrers/", |_| LyingResponse::new(200, "text/html", b"<p>")),
    );
    check_all_rejected(attacks);
}

/// A forbidden registry does not even get a request; an additional policy narrows the user's, and never widens it.
#[test]
fn forbidden_registries_are_not_queried() {
    let goods = Goods::honest();
    let served = goods.clone();
    let registry = LyingRegistry::start(move |requested| served.answer(requested));
    let address = format!("oci://{}/team", registry.host());
    let other = "allow = [\"oci://registry.example.com\"]\n";
    for way in WAYS {
        Workspace::new(other).attempt(way, &address, &goods).check_rejected("may not be used").unwrap();
        let workspace = Workspace::new("allow = [\"*\"]");
        let operators = workspace.trial.write("operators.toml", other);
        workspace.pin(&address, &goods);
        let went = workspace.with(way, &address, ("MILLSTREAM_POLICY", &operators));
        went.check_rejected("operators.toml allows oci://registry.example.com").unwrap();
    }
    assert_eq!(registry.requests(), Vec::<String>::new());
    let workspace = Workspace::new("[[registry]]\nat = \"*\"\nrequire = [\"bob\"]");
    workspace
        .attempt(Way::Add, &address, &goods)
        .check_rejected(
            "no trusted key of bob; to trust one, run: millstream key trust \
                                                   bob",
        )
        .unwrap();
    for broken in ["allow = 1", "[[registry]]\nat = \"*\"", "alow = []"] {
        Workspace::new(broken).attempt(Way::Pull, &address, &goods).check_rejected("config/policy.toml").unwrap();
    }
    let workspace = Workspace::new("paths = false");
    let job = workspace.trial.text("job.toml").replace("split-words@0.1.0", &plugin(NAME).display().to_string());
    workspace.trial.write("job.toml", job);
    workspace.run(&["run", "job.toml"]).check_rejected("allows no plugins by path").unwrap();
}

/// A permission at the time of adding is not permanent: each run checks the policies again, without a network.
#[test]
fn policies_are_checked_at_each_run() {
    let [alice, other] = ["alice", "alice"].map(Person::new);
    let goods = Goods::honest();
    let goods = goods.clone().signed(alice.signs(&goods));
    let served = goods.clone();
    let registry = LyingRegistry::start(move |requested| served.answer(requested));
    let address = format!("oci://{}/team", registry.host());
    let one = policy("require = [\"alice\"]", &[&alice]);
    let workspace = Workspace::new(&one);
    workspace.attempt(Way::Add, &address, &goods).check_ok();
    drop(registry);
    workspace.run(&["run", "job.toml"]).check_ok();
    for (policy, says) in [
        (format!("{one}[revoked]\nkeys = [\"{}\"]", alice.key()), "revoked"),
        (format!("{one}[revoked]\nmanifests = [\"{}\"]", digest(&goods.manifest)), "has revoked"),
        (policy("require = [\"alice\"]", &[&other]), "uses an unknown key"),
        ("allow = []".into(), "allows none"),
    ] {
        workspace.trial.write("config/policy.toml", policy);
        workspace.run(&["run", "job.toml"]).check_rejected(says).unwrap();
        workspace.run(&["validate", "job.toml"]).check_rejected(says).unwrap();
    }
    workspace.trial.write("config/policy.toml", &one);
    workspace.run(&["run", "job.toml"]).check_ok();
    // By command.
    workspace.run(&["key", "revoke", &alice.key()]).check_ok();
    workspace.run(&["run", "job.toml"]).check_rejected("revoked").unwrap();
}

/// A running job checks the policies as well, before it switches to another plugin.
#[test]
fn a_running_job_does_not_switch_to_a_forbidden_plugin() {
    let (workspace, goods) = (Workspace::new(""), Goods::honest());
    let registry = workspace.trial.path("registry");
    goods.write(&registry);
    workspace.attempt(Way::Add, &registry.display().to_string(), &goods).check_ok();
    workspace.trial.write("in/lines.txt", "so it goes\n");
    let job = workspace.trial.text("job.toml").replace("clock = \"manual\"", "batch = \"0s\"");
    let source = "kind = \"directory\"\npath = \"in\"\nformat = \"text\"\n";
    let job = job.replace("kind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" }\n", source);
    workspace.trial.write("job.toml", job);
    let running = Process::start(&mut workspace.command(&["run", "job.toml"]));
    wait_until("the job has done its first batch", || !workspace.trial.rows("out.jsonl").is_empty());
    workspace.trial.write("config/policy.toml", "paths = false");
    let other = plugin(NAME).display().to_string();
    workspace.run(&["upgrade", "job.toml", "words", &other]).check_rejected("allows no plugins by path").unwrap();
    workspace.trial.write("config/policy.toml", "");
    workspace.run(&["upgrade", "job.toml", "words", &other]).check_rejected("already runs this component").unwrap();
    running.signal("TERM");
    assert_eq!(running.wait().code, Some(0));
}

/// A signer has a new key and signs again; a locked job resumes once the new signature is there.
#[test]
fn a_package_that_is_signed_again_may_be_used_again() {
    let [old, new] = ["alice", "alice"].map(Person::new);
    let keys = format!("require = [\"alice\"]\n[signers]\nalice = [\"{}\", \"{}\"]\n", old.key(), new.key());
    let workspace = Workspace::new(&format!("[[registry]]\nat = \"*\"\n{keys}"));
    let registry = workspace.trial.path("registry");
    let address = registry.display().to_string();
    let goods = Goods::honest();
    let signed = goods.clone().signed(old.signs(&goods));
    signed.write(&registry);
    workspace.attempt(Way::Add, &address, &signed).check_ok();
    workspace.run(&["key", "revoke", &old.key()]).check_ok();
    workspace
        .run(&["run", "job.toml"])
        .check_rejected("signed it again, `millstream pull` fetches that signature")
        .unwrap();
    workspace.attempt(Way::Pull, &address, &signed).check_rejected("uses a revoked key").unwrap();
    signed.signed(new.signs(&goods)).write(&registry);
    workspace.attempt(Way::Pull, &address, &goods).check_ok();
    workspace.run(&["run", "job.toml"]).check_ok();
}
