//! Jobs that present keys (nkeys) and credentials (`.creds`) to a real NATS server.

use millstream_tests::{Nats, NatsKey, NatsKeyOf, Process, Trial};
use serde_json::json;

/// A job that copies a stream to another one, with the credentials of this file.
fn job(nats: &Nats, file: &str) -> Trial {
    let url = nats.url();
    Trial::new(&format!(
        r#"name = "copy"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
[sources.in]
kind = "nats"
url = "{url}"
stream = "IN"
credentials = "{file}"
[sinks.out]
from = "in"
kind = "nats"
url = "{url}"
stream = "OUT"
subject = "out"
format = "text"
credentials = "{file}"
"#
    ))
}

/// Streams, and a message in the first.
fn fill(nats: &Nats) {
    nats.stream("IN", &["in"], &json!({}));
    let subjects = ["out", "millstream.OUT.>"];
    nats.stream("OUT", &subjects, &json!({ "allow_atomic": true }));
    nats.publish("in", "a");
}

/// The copied messages.
fn copied(nats: &Nats) -> Vec<String> {
    let messages = nats.messages("OUT").into_iter().filter(|message| message.subject == "out");
    messages.map(|message| String::from_utf8(message.data).unwrap()).collect()
}

/// Runs a job that ends on its own with this exit code; returns its output.
#[track_caller]
fn fails(trial: &Trial, code: i32) -> String {
    let ended = Process::start(&mut trial.command(&["run", "job.toml", "--unsupervised"])).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_job_authenticates_with_a_key() {
    let (ours, other) = (NatsKey::new(NatsKeyOf::User, 1), NatsKey::new(NatsKeyOf::User, 2));
    let users =
        format!("authorization {{ users = [ {{ user: test, password: pw }}, {{ nkey: {} }} ] }}\n", ours.public());
    let nats = Nats::configured(&users, &json!({ "user": "test", "pass": "pw" }));
    fill(&nats);
    let trial = job(&nats, "reader.nk");
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert!(
        output.contains("`credentials`, the file ") && output.contains("reader.nk: it cannot be read: "),
        "{output}"
    );
    for (text, why) in [
        ("hello\nyou", "it is neither a credentials file nor the seed of a key"),
        (&ours.seed()[..20], "its seed is invalid: cut or mistyped"),
        (&NatsKey::new(NatsKeyOf::Account, 1).seed(), "its seed is not that of a user, which begins with SU"),
    ] {
        trial.write("reader.nk", text);
        let output = trial.rejected_message(&["validate", "job.toml"]);
        assert!(output.contains(why) && !output.contains(text), "{output}");
    }
    trial.write("reader.nk", other.seed());
    let output = fails(&trial, 1);
    let refused = "it rejected the key or JWT, which may have expired; renew the file that `credentials` names";
    assert!(output.contains(refused) && !output.contains(&other.seed()), "{output}");
    trial.write("reader.nk", format!("# of the job\n{}\n", ours.seed()));
    trial.run_ok(&["--until-idle"]);
    assert_eq!(copied(&nats), ["a"]);
    trial.change(
        "[sources.in]\nkind = \"nats\"\nurl = \"nats://",
        "[sources.in]\nkind = \"nats\"\nurl = \"nats://me:pw@",
    );
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("`url` and `credentials` both have credentials; remove one of them"), "{output}");
    // The server requires no key.
    let open = Nats::start();
    let trial = job(&open, "reader.nk");
    trial.write("reader.nk", ours.seed());
    let output = fails(&trial, 1);
    assert!(output.contains("it does not support authentication by keys (nkeys)"), "{output}");
}

/// A server that trusts an operator has no list of users: an account signs its users.
#[test]
fn a_job_authenticates_with_signed_credentials() {
    let operator = NatsKey::new(NatsKeyOf::Operator, 1);
    let (system, account) = (NatsKey::new(NatsKeyOf::Account, 2), NatsKey::new(NatsKeyOf::Account, 3));
    let user = NatsKey::new(NatsKeyOf::User, 4);
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = |account: &NatsKey, limits| {
        let claims = json!({ "limits": limits, "default_permissions": { "pub": {}, "sub": {} }, "type": "account", "version": 2 });
        format!("{}: {}", account.public(), operator.jwt(&account.public(), None, &claims))
    };
    let mut none = limits.clone();
    for key in ["mem_storage", "disk_storage", "streams", "consumer"] {
        none[key] = 0.into();
    }
    let of_user = |is_bearer: bool, expires_s| {
        let claims = json!({
            "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "bearer_token": is_bearer, "type": "user", "version": 2,
        });
        account.jwt(&user.public(), expires_s, &claims)
    };
    let settings = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n{}\n}}\n",
        operator.jwt(&operator.public(), None, &json!({ "type": "operator", "version": 2 })),
        system.public(),
        of_account(&system, none),
        of_account(&account, limits),
    );
    let nats = Nats::configured(&settings, &json!({ "jwt": of_user(true, None) }));
    fill(&nats);
    let file = |jwt: &str| {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed()
        )
    };
    let trial = job(&nats, "secret/job.creds");
    // It was valid for a day in 2023.
    let old = of_user(false, Some(1_700_086_400));
    trial.write("secret/job.creds", file(&old));
    let output = fails(&trial, 1);
    assert!(output.contains("renew the file that `credentials` names") && !output.contains(&old), "{output}");
    trial.write("secret/job.creds", file(&of_user(false, None)));
    trial.run_ok(&["--until-idle"]);
    assert_eq!(copied(&nats), ["a"]);
}
