//! Orders and their payments as time passes. The content of a row follows from its number, so rows need not be stored.

use millstream_tests::Broker;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const ORDERS: &str = "orders";
pub const PAYMENTS: &str = "payments";
/// Rows arrive in order within each.
const PARTITIONS: i64 = 2;
/// From one order to the next.
pub const STEP_MS: i64 = 5;
pub const USERS: i64 = 40;
pub const CHARS_MAX: i64 = 6;
/// An order whose number this divides is never paid.
const UNPAID: i64 = 10;
/// The time from an order to its payment.
const PAID_AFTER_MS: i64 = 1_000;
/// Such topics keep ten minutes, so that hours fit on a disk.
const KEPT: [(&str, &str); 2] = [("retention.ms", "600000"), ("segment.ms", "60000")];

/// Settings that make a broker delete rows soon after they are old.
pub fn broker_settings() -> Vec<String> {
    vec!["log.retention.check.interval.ms=30000".into(), "log.segment.delete.delay.ms=1000".into()]
}

/// Makes a topic whose rows are dropped after a while.
pub fn topic(broker: &Broker, name: &str) {
    broker.topic(name, PARTITIONS as i32, &KEPT);
}

/// The input so far.
#[derive(Clone)]
pub struct Fed {
    /// The time of order 0, in milliseconds since 1970.
    first_ms: i64,
    rows: Arc<AtomicI64>,
}

impl Fed {
    /// The number of orders.
    pub fn rows(&self) -> i64 {
        self.rows.load(Ordering::SeqCst)
    }

    /// The time of an order, in milliseconds since 1970.
    pub fn at_ms(&self, order: i64) -> i64 {
        self.first_ms + order * STEP_MS
    }

    /// The number of orders of a user with times from `from_ms` until before `until_ms`.
    pub fn orders_between(&self, user: i64, from_ms: i64, until_ms: i64) -> i64 {
        // All orders before a time.
        let before = |time_ms: i64| {
            let orders = (time_ms - self.first_ms + STEP_MS - 1).div_euclid(STEP_MS).max(0);
            (orders - user + USERS - 1).div_euclid(USERS).max(0)
        };
        before(until_ms) - before(from_ms)
    }
}

/// Whether an order is paid.
pub fn is_paid(order: i64) -> bool {
    order % UNPAID != 0
}

/// The number of letters `e` in the text of an order. With [`USERS`], each user's orders have 6, 4, 2, 0, 5, 3, 1, and so on.
pub fn letters(order: i64) -> i64 {
    order % (CHARS_MAX + 1)
}

/// A thread that writes into both topics.
pub struct Feeder {
    fed: Fed,
    full: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Feeder {
    pub fn start(broker: &Broker) -> Feeder {
        [ORDERS, PAYMENTS].iter().for_each(|name| topic(broker, name));
        let fed = Fed { first_ms: now_ms(), rows: Arc::default() };
        let full = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (fed, full, client) = (fed.clone(), full.clone(), broker.client());
            move || feed(client, &fed, &full)
        });
        Feeder { fed, full, thread }
    }

    /// Stops feeding. Returns the number of rows.
    pub fn end(self) -> Fed {
        self.full.store(true, Ordering::SeqCst);
        self.thread.join().expect("all rows are written");
        self.fed
    }
}

impl std::ops::Deref for Feeder {
    type Target = Fed;

    fn deref(&self) -> &Fed {
        &self.fed
    }
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_millis() as i64
}

fn feed(mut client: ClientConfig, fed: &Fed, full: &AtomicBool) {
    client.set("enable.idempotence", "true").set("linger.ms", "5");
    let producer: BaseProducer = client.create().expect("the settings of a client are right");
    let put = |topic: &str, order: i64, text: String| {
        let partition = (order % PARTITIONS) as i32;
        while producer.send(BaseRecord::<(), String>::to(topic).partition(partition).payload(&text)).is_err() {
            // The queue is full.
            producer.poll(Duration::from_millis(10));
        }
    };
    let pay = |order: i64| {
        if is_paid(order) {
            let at_ms = fed.at_ms(order) + PAID_AFTER_MS;
            put(PAYMENTS, order, format!(r#"{{"n":{order},"paid_at":{at_ms}}}"#));
        }
    };
    let payments_behind = PAID_AFTER_MS / STEP_MS;
    let mut order = 0;
    while !full.load(Ordering::SeqCst) {
        while fed.at_ms(order) <= now_ms() {
            let (user, text, at_ms) = (order % USERS, "e".repeat(letters(order) as usize), fed.at_ms(order));
            put(ORDERS, order, format!(r#"{{"n":{order},"buyer":{user},"text":"{text}x","letter":"e","at":{at_ms}}}"#));
            if order >= payments_behind {
                pay(order - payments_behind);
            }
            order += 1;
        }
        producer.poll(Duration::from_millis(20));
    }
    (order.saturating_sub(payments_behind).max(0)..order).for_each(pay);
    producer.flush(Duration::from_secs(60)).expect("the broker takes the rows");
    fed.rows.store(order, Ordering::SeqCst);
}
