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
            "AWS_ENDPOINT_URL" => (name, format!("{}://127.0.0.1:{}", target.scheme("http", "https"), target.port)),
            "AWS_SECRET_ACCESS_KEY" => (name, password.to_owned()),
            _ => (name, value),
        };
        let mut all: Vec<_> = self.weed.settings().into_iter().map(own).collect();
        all.extend(target.trust_store());
        all
    }
}

/// Part of the message about a certificate for another name, by the library for object stores.
const MISNAMED: &str = "certificate not valid for name \"127.0.0.1\"";

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
        vec![(Case::Gone, "an object that was deleted before it was listed was never there")]
    }

    fn link(&self, _: &str) -> Link {
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

    fn misnamed(&self) -> &'static str {
        MISNAMED
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
        vec![(Case::Gone, "a sink has no position"), (Case::TooLong, "objects have no longest row")]
    }

    fn link(&self, _: &str) -> Link {
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

    fn misnamed(&self) -> &'static str {
        MISNAMED
    }

    fn awaits_certificate(&self) -> bool {
        true
    }

    /// What fails is named by its path.
    fn names(&self, told: &str) -> bool {
        told.contains("-out/")
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
