//! What the suite has to know of a connector: its server, the lines of its job, and how rows are sent and read without Millstream.

use super::link::Link;
use serde_json::Value;
use std::net::TcpStream;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The password that servers of this suite want, where a helper does not fix another.
pub const SECRET: &str = "s3cret-of-the-contract";
/// A password that is wrong everywhere.
pub const GUESS: &str = "guess-of-the-contract";

/// What every connector is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// All rows arrive, those of a key in order, with one worker and with two.
    Order,
    /// The job is killed between plan and commit, and at other steps.
    Kill,
    /// The server is unreachable when the job starts.
    LateServer,
    /// The connection breaks while rows pass, and the server is unreachable for a while. Of a sink a reply is lost, and then a request.
    Outage,
    /// The connection stays open, and nothing passes for a while.
    Stall,
    /// The password is wrong.
    Password,
    /// The server deleted rows that the job has not read.
    Gone,
    /// A record is longer than allowed.
    TooLong,
    /// The server's certificate is for another name.
    Certificate,
    /// The password is in no output, and in no file. Checked in all other cases as well.
    Secret,
}

impl Case {
    /// All of them.
    pub const ALL: [Case; 10] = [
        Case::Order,
        Case::Kill,
        Case::LateServer,
        Case::Outage,
        Case::Stall,
        Case::Password,
        Case::Gone,
        Case::TooLong,
        Case::Certificate,
        Case::Secret,
    ];
}

/// What a connector promises after a crash.
#[expect(clippy::enum_variant_names, reason = "these are the field's terms")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Each row once.
    ExactlyOnce,
    /// Each row, and some again.
    AtLeastOnce,
    /// Rows that were under way may be lost. None comes twice. Of a sink: a client that listens gets all rows from one on.
    AtMostOnce,
}

/// The [port](Connector::port) of a connector whose cases share no server.
pub const OWN_PORT: u16 = 0;

/// What a job connects to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Stream, topic, queue or table: each case has its own.
    pub location: String,
    /// Port of 127.0.0.1, or [`OWN_PORT`].
    pub port: u16,
    /// The CA that the job trusts, if it uses TLS.
    pub ca: Option<PathBuf>,
}

impl Target {
    /// The port that is given, or else that of the case's own server.
    pub fn port_or(&self, own: impl FnOnce() -> u16) -> u16 {
        if self.port == OWN_PORT { own() } else { self.port }
    }

    /// The variable that makes a job trust the CA, if it uses TLS and its file has no key for that.
    pub fn trust_store(&self) -> Option<(String, String)> {
        self.ca.as_ref().map(|ca| ("SSL_CERT_FILE".to_owned(), ca.display().to_string()))
    }

    /// `plain` without TLS, and else `secure`.
    pub fn scheme(&self, plain: &str, secure: &str) -> String {
        (if self.ca.is_some() { secure } else { plain }).to_owned()
    }

    /// The key `tls`, if the job uses TLS.
    pub fn tls(&self) -> String {
        self.ca.as_ref().map_or(String::new(), |ca| format!("tls = {{ ca = \"{}\" }}\n", ca.display()))
    }
}

/// What source and sink of a kind have in common.
pub trait Connector: Sync {
    /// Its kind.
    fn kind(&self) -> &'static str;

    /// What it promises.
    fn promise(&self) -> Promise;

    /// The cases that do not apply, and why, in one line each.
    fn skips(&self) -> Vec<(Case, &'static str)>;

    /// A link to the server of a case, which does not pass anything yet.
    fn link(&self, location: &str) -> Link;

    /// Port of the server itself.
    fn port(&self) -> u16;

    /// Lines of the job file below `kind`. The password is `${PW}`.
    fn lines(&self, target: &Target) -> String;

    /// Variables for the program.
    fn environment(&self, _: &Target, password: &str) -> Vec<(String, String)> {
        vec![("PW".to_owned(), password.to_owned())]
    }

    /// The password that is right.
    fn secret(&self) -> &'static str {
        SECRET
    }

    /// Creates what a case reads or writes.
    fn create(&self, location: &str);

    /// Part of the message about a wrong password.
    fn denied(&self) -> &'static str {
        "authentication failed"
    }

    /// Part of the message of a job whose server is unreachable.
    fn waits(&self) -> &'static str {
        "until it works"
    }

    /// The same at startup.
    fn waits_at_start(&self) -> &'static str {
        "the job waits"
    }

    /// Whether a message about a server says what it concerns.
    fn names(&self, told: &str) -> bool {
        told.contains("source `in`") || told.contains("sink `out`")
    }

    /// Part of the message about a certificate for another name.
    fn misnamed(&self) -> &'static str {
        "the server's certificate is not for the name `127.0.0.1`"
    }

    /// Whether a sink waits until the certificate is right.
    fn awaits_certificate(&self) -> bool {
        false
    }

    /// What server and client say before they begin with TLS.
    fn before_tls(&self, _: &mut TcpStream) {}
}

/// A source. A row is `{"n":7,"k":"k1"}`; rows of a key come in the order in which they were sent.
pub trait Source: Connector {
    /// Adds rows with these numbers, by a client that is not ours.
    fn send(&self, location: &str, rows: Range<u64>) {
        self.send_records(location, rows.map(record).collect());
    }

    /// Adds these records.
    fn send_records(&self, location: &str, records: Vec<(u64, String)>);

    /// Number and key of a row that the job has read.
    fn row(&self, row: &Value) -> (u64, String) {
        (row["n"].as_u64().unwrap_or_default(), row["k"].as_str().unwrap_or_default().to_owned())
    }

    /// Whether the server only keeps or sends rows once the job has subscribed.
    fn subscribes(&self) -> bool {
        false
    }

    /// Deletes rows that the job with checkpoints in this folder has not read.
    fn lose(&self, _: &str, _: &Path) {
        panic!("no way to lose rows");
    }

    /// Part of the message about rows that were deleted.
    fn gone(&self) -> &'static str {
        panic!("no message about deleted rows");
    }
}

/// A sink, which writes rows with a number and a key.
pub trait Sink: Connector {
    /// The columns with number and key.
    fn columns(&self) -> [&'static str; 2] {
        ["n", "k"]
    }

    /// The numbers of the rows that the server has, in its order if there is one.
    fn read(&self, location: &str) -> Vec<u64>;

    /// Whether there is no server, and a client receives what is committed while it [listens](Self::listen).
    fn is_live(&self) -> bool {
        false
    }

    /// Has a client listen to the job that starts now; it is the one that is [read](Self::read) from then on.
    fn listen(&self, _: &str) {}

    /// Whether the server has an order.
    fn is_ordered(&self) -> bool {
        true
    }

    /// The steps at which the job dies, each once.
    fn kill_points(&self) -> Vec<&'static str> {
        vec!["plan.durable:2", "commit.before:2", "commit.written:2", "commit.after:2"]
    }

    /// Bytes of a value that is too long, and a part of the message.
    fn too_long(&self) -> (usize, &'static str) {
        panic!("no limit of a record's length");
    }
}

/// Number and record of a row.
pub fn record(n: u64) -> (u64, String) {
    (n, format!("{{\"n\":{n},\"k\":\"k{}\"}}", n % KEYS))
}

/// How many keys rows have.
pub const KEYS: u64 = 3;

/// The columns of a source with JSON.
pub const SCHEMA: &str = "format = \"json\"\nschema = { n = \"int64\", k = \"text\" }\n";
