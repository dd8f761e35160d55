//! Kafka, against a real broker.

use millstream_tests::kafka::{BrokerOptions, Record};
use millstream_tests::{Broker, Certificates, is_alive, wait_until};
use std::time::Duration;

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn a_broker_keeps_its_data_when_it_is_killed() {
        let mut broker = Broker::start();
        broker.topic("t", 2, &[]);
        broker.produce("t", &[Record::at(0, "a"), Record::at(1, "b")]);
        let open = broker.transaction("x", Duration::from_secs(60), "t", &[Record::at(0, "open")]);
        let id = broker.id();
        broker.kill();
        assert!(!is_alive(id));
        broker.start_again();
        assert_eq!(broker.strings("t"), ["a", "b"]);
        assert_eq!(broker.read_uncommitted("t").len(), 3);
        open.commit();
        wait_until("the transaction is committed", || broker.strings("t") == ["a", "open", "b"]);
        broker.add_partitions("t", 3);
        broker.produce("t", &[Record::at(2, "c")]);
        assert_eq!(broker.strings("t"), ["a", "open", "b", "c"]);
        broker.delete_records("t", 0, 1);
        assert_eq!(broker.strings("t"), ["open", "b", "c"]);
    }

    #[test]
    fn a_broker_requires_a_password_over_tls() {
        let certificates = Certificates::make();
        let tls = Some(certificates.of("broker", "IP:127.0.0.1", 2));
        let broker = Broker::with(BrokerOptions { login: true, tls, ..BrokerOptions::default() });
        broker.topic("t", 1, &[]);
        broker.produce("t", &[Record::of("k", "v")]);
        let reads = |user: &str, password: &str, mechanism: &str| {
            use rdkafka::consumer::{BaseConsumer, Consumer};
            let mut config = broker.client();
            config.set("bootstrap.servers", broker.guarded()).set("security.protocol", "sasl_ssl");
            config.set("ssl.ca.location", certificates.ca().to_string_lossy()).set("sasl.mechanism", mechanism);
            config.set("sasl.username", user).set("sasl.password", password);
            let consumer: BaseConsumer = config.create().unwrap();
            let known = consumer.fetch_metadata(Some("t"), Duration::from_secs(3));
            known.is_ok_and(|known| known.topics().iter().any(|topic| topic.error().is_none()))
        };
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            wait_until(&format!("{mechanism} lets {} in", Broker::USER), || {
                reads(Broker::USER, Broker::PASSWORD, mechanism)
            });
            assert!(!reads(Broker::USER, "wrong", mechanism), "{mechanism}");
        }
        assert!(!reads(Broker::STRANGER, Broker::PASSWORD, "PLAIN"));
    }
}
