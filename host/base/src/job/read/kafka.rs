//! The keys that tell a Kafka cluster, in sources and in sinks.

use super::tls;
use crate::job::keys;
use crate::job::spec::{KafkaCluster, KafkaSourceSpec, KafkaTopics, SaslMechanism, SaslSpec};
use crate::job::table::Reader;
use crate::limits;
use std::time::Duration;

impl KafkaCluster {
    /// `brokers`, `tls`, `sasl` and `wait`.
    pub fn read(r: &Reader<'_>) -> KafkaCluster {
        let example = "brokers = \"127.0.0.1:9092\", or a list of such";
        r.need("brokers", example);
        let brokers = r.texts("brokers", example).unwrap_or_default();
        // As other clients of Kafka write several.
        let brokers = brokers.iter().flat_map(|text| text.split(',')).map(|broker| broker.trim().to_owned()).collect();
        KafkaCluster {
            brokers,
            tls: tls::read_with(r, keys::KAFKA_TLS),
            sasl: sasl(r),
            wait: r.time("wait").unwrap_or(Duration::from_millis(limits::SERVER_WAIT_MS)),
        }
    }
}

/// What a source of kind `kafka` reads.
pub(super) fn source(r: &Reader<'_>) -> KafkaSourceSpec {
    let example = "topic = \"orders\", or topic = [\"a\", \"b\"]";
    let topics = match (r.texts("topic", example), r.text("pattern", "pattern = \"orders-*\"")) {
        (Some(_), Some(_)) => {
            r.wrong("pattern", "`pattern` and `topic` both say which topics are read; remove one of them");
            KafkaTopics::Named(Vec::new())
        }
        (None, Some(pattern)) => KafkaTopics::Pattern(pattern.into()),
        (topics, None) => {
            if !r.has("pattern") {
                r.need("topic", example);
            }
            KafkaTopics::Named(topics.unwrap_or_default())
        }
    };
    KafkaSourceSpec {
        cluster: KafkaCluster::read(r),
        topics,
        start: r.stream_start().unwrap_or_default(),
        group: r.text("group", "group = \"orders-totals\"").map(str::to_owned),
        poll: r.time("poll").unwrap_or(Duration::from_millis(limits::KAFKA_POLL_MS)),
    }
}

fn sasl(r: &Reader<'_>) -> Option<SaslSpec> {
    let inner =
        r.inner("sasl", "sasl = { mechanism = \"SCRAM-SHA-512\", user = \"job\", password = \"${KAFKA_PASSWORD}\" }")?;
    inner.check_keys(keys::SASL, &[], None);
    let text = |key: &str, example: &str| {
        inner.need(key, example);
        inner.text(key, example).map(str::to_owned)
    };
    inner.need("mechanism", "mechanism = \"SCRAM-SHA-512\"");
    let words = SaslMechanism::ALL.map(|mechanism| (mechanism.word(), mechanism));
    let mechanism = inner.choice("mechanism", &words, &["OAUTHBEARER", "GSSAPI"]);
    let user = text("user", "user = \"job\"");
    let password = text("password", "password = \"${KAFKA_PASSWORD}\"");
    Some(SaslSpec { mechanism: mechanism?, user: user?, password: password? })
}
