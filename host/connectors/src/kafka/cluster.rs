//! Settings of a Kafka cluster, for sources and sinks.

use millstream_base::limits::SERVER_WAIT_MS;
use millstream_job::PartErrors;
use millstream_job::keys::{CLIENT_CERTIFICATE, KeyShape, PRIVATE_KEY, TRUSTED_CA, TableKey, key};
use millstream_job::parts::is_address;
use millstream_job::spec::TlsSpec;
use millstream_job::table::Reader;
use std::fmt;
use std::time::Duration;

/// Maximum length of a topic's name, as in Kafka.
const TOPIC_BYTES_MAX: usize = 249;

/// The key `brokers`.
pub const BROKERS: TableKey = key(
    "brokers",
    KeyShape::TextList,
    "Bootstrap brokers, for example \"127.0.0.1:9092\", or a list. The job gets the addresses of all others from them.",
)
.required();
/// The key `sasl`.
pub const SASL_KEY: TableKey = key(
    "sasl",
    KeyShape::Table(SASL),
    "SASL credentials: { mechanism = \"SCRAM-SHA-512\", user = \"job\", password = \"${KAFKA_PASSWORD}\" }; none by default.",
);

/// The key `tls`.
pub const TLS_KEY: TableKey = key(
    "tls",
    KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS)]),
    "Use TLS: true, or { ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\" }. The brokers' certificates are checked. false by \
     default.",
);
/// The key `wait`.
pub const WAIT: TableKey = key(
    "wait",
    KeyShape::Time,
    "How long the job waits for brokers if none is reachable, at startup and later, 1h by default.",
);

/// `tls` of a Kafka cluster, as a table: each broker has its own name.
const TLS: &[TableKey] = &[TRUSTED_CA, CLIENT_CERTIFICATE, PRIVATE_KEY];

/// `sasl` of a Kafka cluster.
const SASL: &[TableKey] = &[
    key(
        "mechanism",
        KeyShape::Word(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
        "SASL mechanism. PLAIN sends the password in clear text, so use it only with `tls`.",
    )
    .required(),
    key("user", KeyShape::Text, "User name.").required(),
    key("password", KeyShape::Text, "Password of `user`, for example \"${KAFKA_PASSWORD}\".").required(),
];

/// A Kafka cluster, and the job's credentials for it.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaCluster {
    /// Bootstrap brokers: `host:port`.
    pub brokers: Vec<String>,
    /// TLS settings; `None`: plain TCP.
    pub tls: Option<TlsSpec>,
    /// The job's credentials; `None`: anonymous.
    pub sasl: Option<SaslSpec>,
    /// How long the job waits if no broker responds, at startup and later.
    pub wait: Duration,
}

/// SASL credentials of a job.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslSpec {
    /// The SASL mechanism.
    pub mechanism: SaslMechanism,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: String,
}

impl fmt::Debug for SaslSpec {
    /// Omits the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslSpec").field("mechanism", &self.mechanism).field("user", &self.user).finish_non_exhaustive()
    }
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password is sent unchanged.
    Plain,
    /// Challenge-response with SHA-256.
    ScramSha256,
    /// Challenge-response with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// All mechanisms.
    pub const ALL: [SaslMechanism; 3] = [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];

    /// Returns the name in Kafka and job files.
    pub fn keyword(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl KafkaCluster {
    /// Reads `brokers`, `tls`, `sasl` and `wait`.
    pub fn read(r: &Reader<'_>) -> KafkaCluster {
        let example = "brokers = \"127.0.0.1:9092\", or a list of such";
        r.need("brokers", example);
        let brokers = r.strings("brokers", example).unwrap_or_default();
        // Other Kafka clients separate several brokers with commas.
        let brokers = brokers.iter().flat_map(|text| text.split(',')).map(|broker| broker.trim().to_owned()).collect();
        KafkaCluster {
            brokers,
            tls: r.tls_with(TLS),
            sasl: sasl(r),
            wait: r.time("wait").unwrap_or(Duration::from_millis(SERVER_WAIT_MS)),
        }
    }

    /// Adds errors of the settings.
    pub fn check(&self, part: &PartErrors<'_>) {
        for broker in self.brokers.iter().filter(|broker| !is_address(broker)) {
            part.wrong("brokers", format!("`{broker}` is not host and port; write it as \"127.0.0.1:9092\""));
        }
        if self.brokers.is_empty() {
            part.wrong("brokers", "`brokers` is empty; write brokers = \"127.0.0.1:9092\"");
        }
        if let Some(sasl) = &self.sasl {
            for (key, text) in [("sasl.user", &sasl.user), ("sasl.password", &sasl.password)] {
                if text.is_empty() || text.contains('\0') {
                    part.wrong(key, format!("`{key}` must not be empty or contain NUL; correct it"));
                }
            }
        }
    }
}

/// Checks the name of a topic.
pub fn check_topic(key: &str, name: &str, part: &PartErrors<'_>) {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > TOPIC_BYTES_MAX || !name.bytes().all(good) || [".", ".."].contains(&name) {
        let hint = match name.contains(['*', '?', '[']) {
            true => "write pattern = \"orders-*\" for all topics of a pattern".to_owned(),
            false => format!("use up to {TOPIC_BYTES_MAX} characters of a-z, A-Z, 0-9, `.`, `_` and `-`"),
        };
        part.wrong(key, format!("`{}` is not a valid topic name; {hint}", name.escape_debug()));
    }
}

fn sasl(r: &Reader<'_>) -> Option<SaslSpec> {
    let inner =
        r.inner("sasl", "sasl = { mechanism = \"SCRAM-SHA-512\", user = \"job\", password = \"${KAFKA_PASSWORD}\" }")?;
    inner.check_keys(SASL, &[], None);
    let text = |key: &str, example: &str| {
        inner.need(key, example);
        inner.text(key, example).map(str::to_owned)
    };
    inner.need("mechanism", "mechanism = \"SCRAM-SHA-512\"");
    let names = SaslMechanism::ALL.map(|mechanism| (mechanism.keyword(), mechanism));
    let mechanism = inner.choice("mechanism", &names, &["OAUTHBEARER", "GSSAPI"]);
    let user = text("user", "user = \"job\"");
    let password = text("password", "password = \"${KAFKA_PASSWORD}\"");
    Some(SaslSpec { mechanism: mechanism?, user: user?, password: password? })
}
