//! A program written for one topic: the same client, and JSON by a fast library.

use super::{RESPONSE_TIMEOUT, TOPIC, client, reader, send};
use crate::rows::Row;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Message, Offset};
use std::time::Duration;

/// Records between two polls for delivery reports.
const RECORDS_PER_POLL: usize = 1_000;

/// Reads all records once.
pub fn read(brokers: &str, rows: usize) {
    let consumer = reader(brokers, TOPIC, Offset::Beginning);
    let mut sum = 0.0;
    for _ in 0..rows {
        let message = consumer.poll(RESPONSE_TIMEOUT).expect("a record").expect("no error");
        let row = Row::parse(message.payload().unwrap_or_default());
        sum += row.sum();
    }
    assert!(sum > 0.0);
}

/// Reads all records once, and writes those with an amount to another topic.
pub fn copy(brokers: &str, rows: usize) {
    let consumer = reader(brokers, TOPIC, Offset::Beginning);
    let mut config = client(brokers);
    config.set("enable.idempotence", "true").set("delivery.report.only.error", "true");
    let producer: BaseProducer = config.set("linger.ms", "5").create().expect("a client");
    for number in 0..rows {
        let message = consumer.poll(RESPONSE_TIMEOUT).expect("a record").expect("no error");
        let row = Row::parse(message.payload().unwrap_or_default());
        if row.amount > 0.0 {
            send(&producer, "plain", &sonic_rs::to_vec(&row).expect("JSON"));
        }
        if number % RECORDS_PER_POLL == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(RESPONSE_TIMEOUT).expect("the broker takes the records");
}
