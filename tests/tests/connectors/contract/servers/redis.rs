//! `redis`, with a real server.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use millstream_tests::Redis;
use std::path::Path;

/// A server at which user `me` has a password, and tests need none.
pub struct Server(Redis);

impl Server {
    /// Starts it.
    pub fn start() -> Server {
        let password = format!(">{SECRET}");
        let users = ["--user", "default", "on", "nopass", "~*", "&*", "+@all"];
        let options = [&users[..], &["--user", "me", "on", &password, "~*", "&*", "+@all"]].concat();
        Server(Redis::with(&options))
    }

    fn url(target: &Target) -> String {
        let scheme = target.scheme("redis", "rediss");
        format!("url = \"{scheme}://me:${{PW}}@127.0.0.1:{}\"\n{}", target.port, target.tls())
    }
}

/// Its source: each case reads two streams, one of which has the rows of the key `k0`.
pub struct AsSource<'a>(pub &'a Server);
/// Its sink.
pub struct AsSink<'a>(pub &'a Server);

impl Connector for AsSource<'_> {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        Vec::new()
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        let location = &target.location;
        Server::url(target) + &format!("stream = [\"{location}.0\", \"{location}.1\"]\nfield = \"row\"\n") + SCHEMA
    }

    fn create(&self, location: &str) {
        for stream in 0..2 {
            let stream = format!("{location}.{stream}");
            self.0.0.send_request(&["XGROUP", "CREATE", &stream, "none", "$", "MKSTREAM"]);
            self.0.0.send_request(&["XGROUP", "DESTROY", &stream, "none"]);
        }
    }
}

impl Source for AsSource<'_> {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        for (n, record) in records {
            self.0.0.add(&format!("{location}.{}", u64::from(n % KEYS == 0)), &[("row", &record)]);
        }
    }

    fn lose(&self, location: &str, _: &Path) {
        self.send(location, 20..40);
        self.0.0.send_request(&["XTRIM", &format!("{location}.0"), "MAXLEN", "2"]);
    }

    fn gone(&self) -> &'static str {
        "let the stream keep more (MAXLEN, MINID)"
    }
}

impl Connector for AsSink<'_> {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn promise(&self) -> Promise {
        Promise::ExactlyOnce
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        vec![
            (Case::Gone, "a sink has no position"),
            (Case::TooLong, "Redis takes values of 512 MiB, more than a row may have"),
        ]
    }

    fn link(&self, _: &str) -> Link {
        Link::to(self.0.0.port())
    }

    fn port(&self) -> u16 {
        self.0.0.port()
    }

    fn lines(&self, target: &Target) -> String {
        Server::url(target) + &format!("stream = \"{}.out\"\n", target.location)
    }

    fn create(&self, _: &str) {}
}

impl Sink for AsSink<'_> {
    fn read(&self, location: &str) -> Vec<u64> {
        let entries = self.0.0.entries(&format!("{location}.out"));
        let number = |fields: Vec<(String, Vec<u8>)>| String::from_utf8(fields[0].1.clone()).ok()?.parse().ok();
        entries.into_iter().map(|fields| number(fields).expect("a number")).collect()
    }
}
