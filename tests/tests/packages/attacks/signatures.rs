//! Packages that nobody vouches for whom the reader trusts.

use super::case::{Attack, Place, WAYS, Way, all_are_refused};
use super::goods::{Goods, NAME, VERSION, digest};
use millstream::internals::digest::Digest;
use millstream::internals::trust::key::SecretKey;
use millstream::internals::trust::signature;
use millstream_tests::{Answer, LyingRegistry, Process, Then, plugin, until};

/// Somebody with a key.
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
        signature::sign(&self.0, &name, &version, &Digest::of(manifest)).expect("a signature")
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
fn who_signs_is_trusted() {
    let alice = Person::new("alice");
    let goods = Goods::honest();
    let goods = goods.clone().signed(alice.signs(&goods));
    let served = goods.clone();
    let registry = LyingRegistry::start(move |asked| served.answer(asked));
    let address = format!("oci://{}/team", registry.host());
    for way in WAYS {
        Place::new(&policy("require = [\"alice\"]", &[&alice])).goes(way, &address, &goods).is_well();
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
        Answer::new(200, "application/vnd.oci.image.index.v1+json", none.as_bytes())
    }));
    attacks.push(kept("an endless list of signatures", "sent too much|3 seconds").at("/referrers/", |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\n\r\n";
        Answer::raw(head).then(Then::Endless(vec![b' '; 1 << 20]))
    }));
    attacks.push(
        kept("no list of signatures", "sent an invalid reply")
            .at("/referrers/", |_| Answer::new(200, "text/html", b"<p>")),
    );
    all_are_refused(attacks);
}

/// A registry that may not be used is not even asked; one more policy narrows what the user's allows, and never widens it.
#[test]
fn registries_that_may_not_be_used_are_not_asked() {
    let goods = Goods::honest();
    let served = goods.clone();
    let registry = LyingRegistry::start(move |asked| served.answer(asked));
    let address = format!("oci://{}/team", registry.host());
    let other = "allow = [\"oci://registry.example.com\"]\n";
    for way in WAYS {
        Place::new(other).goes(way, &address, &goods).refused("may not be used").unwrap();
        let place = Place::new("allow = [\"*\"]");
        let operators = place.trial.write("operators.toml", other);
        place.pin(&address, &goods);
        let went = place.with(way, &address, ("MILLSTREAM_POLICY", &operators));
        went.refused("operators.toml allows oci://registry.example.com").unwrap();
    }
    assert_eq!(registry.asked(), Vec::<String>::new());
    let place = Place::new("[[registry]]\nat = \"*\"\nrequire = [\"bob\"]");
    place.goes(Way::Add, &address, &goods).refused("no key of bob is known: millstream key trust bob").unwrap();
    for broken in ["allow = 1", "[[registry]]\nat = \"*\"", "alow = []"] {
        Place::new(broken).goes(Way::Pull, &address, &goods).refused("config/policy.toml").unwrap();
    }
    let place = Place::new("paths = false");
    let job = place.trial.text("job.toml").replace("split-words@0.1.0", &plugin(NAME).display().to_string());
    place.trial.write("job.toml", job);
    place.run(&["run", "job.toml"]).refused("allows no plugins by path").unwrap();
}

/// What was allowed when it was added need not be for ever: each run asks the policies anew, without a network.
#[test]
fn policies_count_at_each_run() {
    let [alice, other] = ["alice", "alice"].map(Person::new);
    let goods = Goods::honest();
    let goods = goods.clone().signed(alice.signs(&goods));
    let served = goods.clone();
    let registry = LyingRegistry::start(move |asked| served.answer(asked));
    let address = format!("oci://{}/team", registry.host());
    let one = policy("require = [\"alice\"]", &[&alice]);
    let place = Place::new(&one);
    place.goes(Way::Add, &address, &goods).is_well();
    drop(registry);
    place.run(&["run", "job.toml"]).is_well();
    for (policy, says) in [
        (format!("{one}[revoked]\nkeys = [\"{}\"]", alice.key()), "revoked"),
        (format!("{one}[revoked]\nmanifests = [\"{}\"]", digest(&goods.manifest)), "has revoked"),
        (policy("require = [\"alice\"]", &[&other]), "uses an unknown key"),
        ("allow = []".into(), "allows none"),
    ] {
        place.trial.write("config/policy.toml", policy);
        place.run(&["run", "job.toml"]).refused(says).unwrap();
        place.run(&["validate", "job.toml"]).refused(says).unwrap();
    }
    place.trial.write("config/policy.toml", &one);
    place.run(&["run", "job.toml"]).is_well();
    // By command.
    place.run(&["key", "revoke", &alice.key()]).is_well();
    place.run(&["run", "job.toml"]).refused("revoked").unwrap();
}

/// A job that runs asks the policies as well, before it takes another plugin.
#[test]
fn a_running_job_takes_no_plugin_that_may_not_be_used() {
    let (place, goods) = (Place::new(""), Goods::honest());
    let registry = place.trial.path("registry");
    goods.write(&registry);
    place.goes(Way::Add, &registry.display().to_string(), &goods).is_well();
    place.trial.write("in/lines.txt", "so it goes\n");
    let job = place.trial.text("job.toml").replace("clock = \"manual\"", "batch = \"0s\"");
    let source = "kind = \"directory\"\npath = \"in\"\nformat = \"text\"\n";
    let job = job.replace("kind = \"queue\"\npath = \"input.jsonl\"\nschema = { value = \"text\" }\n", source);
    place.trial.write("job.toml", job);
    let running = Process::start(&mut place.command(&["run", "job.toml"]));
    until("the job has done its first batch", || !place.trial.rows("out.jsonl").is_empty());
    place.trial.write("config/policy.toml", "paths = false");
    let other = plugin(NAME).display().to_string();
    place.run(&["upgrade", "job.toml", "words", &other]).refused("allows no plugins by path").unwrap();
    place.trial.write("config/policy.toml", "");
    place.run(&["upgrade", "job.toml", "words", &other]).refused("already runs this component").unwrap();
    running.signal("TERM");
    assert_eq!(running.wait().code, Some(0));
}

/// A signer has a new key and signs anew; a job that is locked goes on once the new signature is there.
#[test]
fn a_package_that_is_signed_anew_may_be_used_again() {
    let [old, new] = ["alice", "alice"].map(Person::new);
    let keys = format!("require = [\"alice\"]\n[signers]\nalice = [\"{}\", \"{}\"]\n", old.key(), new.key());
    let place = Place::new(&format!("[[registry]]\nat = \"*\"\n{keys}"));
    let registry = place.trial.path("registry");
    let address = registry.display().to_string();
    let goods = Goods::honest();
    let signed = goods.clone().signed(old.signs(&goods));
    signed.write(&registry);
    place.goes(Way::Add, &address, &signed).is_well();
    place.run(&["key", "revoke", &old.key()]).is_well();
    place.run(&["run", "job.toml"]).refused("signed it again, `millstream pull` fetches that signature").unwrap();
    place.goes(Way::Pull, &address, &signed).refused("uses a revoked key").unwrap();
    signed.signed(new.signs(&goods)).write(&registry);
    place.goes(Way::Pull, &address, &goods).is_well();
    place.run(&["run", "job.toml"]).is_well();
}
