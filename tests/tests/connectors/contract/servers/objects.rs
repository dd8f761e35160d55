//! `directory` and `files` in a bucket of a real S3 server.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::WeedServer;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server with a bucket.
pub struct Server {
    weed: WeedServer,
    objects: AtomicUsize,
}

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        Server { weed: WeedServer::with_secret(SECRET), objects: AtomicUsize::new(0) }
    }

    fn environment(&self, target: &Target, password: &str) -> Vec<(String, String)> {
        let own = |(name, value): (String, String)| match name.as_str() {
            "AWS_ENDPOINT_URL" => (name, format!("http://127.0.0.1:{}", target.port)),
            "AWS_SECRET_ACCESS_KEY" => (name, password.to_owned()),
            _ => (name, value),
        };
        self.weed.settings().into_iter().map(own).collect()
    }
}

/// Why some cases do not apply.
fn skips() -> Vec<(Case, &'static str)> {
    vec![(Case::Certificate, "the trust store of the system decides; a job cannot name another CA")]
}

/// Its source.
pub struct AsSource<'a>(pub &'a Server);
/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "directory"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        [skips(), vec![(Case::Gone, "an object that was deleted before it was listed was never there")]].concat()
    }

    fn link(&self) -> Link {
        Link::to(self.0.weed.port())
    }

    fn port(&self) -> u16 {
        self.0.weed.port()
    }

    fn lines(&self, target: &Target) -> String {
        format!("path = \"s3://bucket/{}\"\npoll = \"50ms\"\n{SCHEMA}", target.location)
    }

    fn environment(&self, target: &Target, password: &str) -> Vec<(String, String)> {
        let mut all = self.0.environment(target, password);
        all.push(("PW".to_owned(), password.to_owned()));
        all
    }

    fn denied(&self) -> &'static str {
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    }

    fn waits(&self) -> &'static str {
        "it waits for up to"
    }

    fn create(&self, _: &str) {}
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let lines: String = records.into_iter().map(|(_, record)| record + "\n").collect();
        let number = self.0.objects.fetch_add(1, Ordering::Relaxed);
        self.0.weed.put(&format!("{location}/{number:06}.jsonl"), lines);
    }
}

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        [skips(), vec![(Case::Gone, "a sink has no position"), (Case::TooLong, "objects have no longest row")]].concat()
    }

    fn link(&self) -> Link {
        Link::to(self.0.weed.port())
    }

    fn port(&self) -> u16 {
        self.0.weed.port()
    }

    fn lines(&self, target: &Target) -> String {
        format!("path = \"s3://bucket/{}-out\"\nformat = \"json\"\n", target.location)
    }

    fn environment(&self, target: &Target, password: &str) -> Vec<(String, String)> {
        let mut all = self.0.environment(target, password);
        all.push(("PW".to_owned(), password.to_owned()));
        all
    }

    fn denied(&self) -> &'static str {
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    }

    fn waits(&self) -> &'static str {
        "the job resumes automatically when this works again"
    }

    fn waits_at_start(&self) -> &'static str {
        self.waits()
    }

    /// What fails is named by its path.
    fn names(&self, told: &str) -> bool {
        told.contains("s3://bucket/late-out")
    }

    fn create(&self, _: &str) {}
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let names = self.0.weed.names(&format!("{location}-out/")).unwrap_or_default();
        let names = names.into_iter().filter(|name| !name.contains("/."));
        let strings = names.filter_map(|name| String::from_utf8(self.0.weed.get(&name)?).ok());
        let row = |line: &str| serde_json::from_str::<Value>(line).ok()?["n"].as_u64();
        strings.flat_map(|text| text.lines().map(|line| row(line).expect("a number")).collect::<Vec<_>>()).collect()
    }
}
