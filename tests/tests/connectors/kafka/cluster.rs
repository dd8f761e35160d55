//! A cluster of several brokers, which die one after the other: the job continues with the remaining ones.

use millstream_tests::kafka::Record;
use millstream_tests::{Cluster, Trial};

const PARTITIONS: i32 = 2;

/// Writes this many more records and counts them.
fn send(cluster: &Cluster, sent: &mut u64, count: u64) {
    let record = |n: u64| Record::at((n % PARTITIONS as u64) as i32, &n.to_string());
    cluster.produce("from", &(*sent..*sent + count).map(record).collect::<Vec<_>>());
    *sent += count;
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// From a topic into a topic, each record once, while the leader of a partition that is read dies, one of a partition that is written,
    /// and that of the markers.
    #[test]
    fn no_record_is_lost_or_duplicated_when_leaders_die() {
        let mut cluster = Cluster::start(3);
        cluster.topic("from", PARTITIONS);
        cluster.topic("to", PARTITIONS);
        let trial = Trial::new(&format!(
            r#"batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "kafka"
brokers = "{0}"
topic = "from"
poll = "200ms"
rows_per_batch_max = 50
[sinks.out]
from = "in"
kind = "kafka"
brokers = "{0}"
topic = "to"
format = "text"
"#,
            cluster.addresses()
        ));
        let there = |cluster: &Cluster| cluster.strings("to").len() as u64;
        let mut sent = 0;
        send(&cluster, &mut sent, 200);
        let mut job = trial.start(&[]);
        job.wait_until("the first records", |_| there(&cluster) > 50);
        for (topic, partition) in [("from", 0), ("to", 0), ("millstream-markers", 0)] {
            // Enough that the job is in the middle of it.
            send(&cluster, &mut sent, 2_000);
            let killed = cluster.kill_leader(topic, partition);
            send(&cluster, &mut sent, 200);
            let all = sent;
            job.wait_until(&format!("it goes on without the leader of {topic}"), |_| there(&cluster) >= all);
            cluster.start_again(killed, &["from", "to", "millstream-markers"]);
        }
        let output = job.stop();
        let mut numbers: Vec<u64> = cluster.strings("to").iter().map(|text| text.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..sent).collect::<Vec<_>>(), "{output}");
    }
}
