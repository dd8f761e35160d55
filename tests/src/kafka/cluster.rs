//! Several brokers that are one cluster: what is written is on all of them, and any one of them may be gone.

use super::{Broker, BrokerOptions};
use crate::{free_port, holds_within, wait_until};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::ops::Deref;
use std::time::Duration;

const RESPONSE_TIME_MAX: Duration = Duration::from_secs(5);

/// A cluster of brokers, each of which may be killed and restarted. Topics are managed by the brokers that run.
pub struct Cluster(Vec<Broker>);

/// The identity of a broker in a cluster.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Host and port of all.
    pub all: String,
    /// The cluster ID that clients see.
    pub cluster_id: String,
}

impl Cluster {
    /// Starts this number of brokers and waits until they respond. A majority must stay alive. All topics have a replica on each
    /// broker.
    pub fn start(brokers: usize) -> Cluster {
        let ports: Vec<[u16; 3]> = (0..brokers).map(|_| [free_port(), free_port(), free_port()]).collect();
        let list = |text: fn(usize, &[u16; 3]) -> String| {
            ports.iter().enumerate().map(|(at, ports)| text(at, ports)).collect::<Vec<_>>().join(",")
        };
        let all = list(|_, [port, ..]| format!("127.0.0.1:{port}"));
        let voters = list(|at, [_, controller, _]| format!("{}@127.0.0.1:{controller}", at + 1));
        // 22 characters encode 16 bytes.
        let cluster_id = format!("{:021}A", std::process::id());
        let start = |(at, ports): (usize, &[u16; 3])| {
            let max = brokers / 2 + 1;
            let copies = ["offsets.topic", "transaction.state.log", "default", "share.coordinator.state.topic"];
            let mut settings: Vec<String> =
                copies.iter().map(|topic| format!("{topic}.replication.factor={brokers}")).collect();
            settings.extend([
                format!("node.id={}", at + 1),
                format!("controller.quorum.voters={voters}"),
                format!("min.insync.replicas={max}"),
                format!("transaction.state.log.min.isr={max}"),
                // A dead broker is detected soon.
                "broker.session.timeout.ms=3000".into(),
                "broker.heartbeat.interval.ms=500".into(),
                "controlled.shutdown.enable=false".into(),
            ]);
            let options = BrokerOptions { settings, ..BrokerOptions::default() };
            let member = Member { all: all.clone(), cluster_id: cluster_id.clone() };
            Broker::new(options, *ports, Some(member))
        };
        let mut brokers: Vec<Broker> = ports.iter().enumerate().map(start).collect();
        brokers.iter_mut().for_each(Broker::start_without_waiting);
        let cluster = Cluster(brokers);
        cluster.await_all();
        cluster
    }

    /// Host and port of all brokers.
    pub fn addresses(&self) -> String {
        self.0.iter().map(Broker::address).collect::<Vec<_>>().join(",")
    }

    /// Creates a topic with this number of partitions, and a replica of each on all brokers.
    pub fn topic(&self, name: &str, partitions: i32) {
        self.topic_with_copies(name, partitions, self.0.len() as i32, &[]);
    }

    /// Kills the leader of a partition, and waits until another broker leads it. Which one it was.
    pub fn kill_leader(&mut self, topic: &str, partition: i32) -> usize {
        let leader = self.leader(topic, partition).expect("somebody leads it");
        self.0[leader].kill();
        wait_until("another broker leads", || self.leader(topic, partition).is_some_and(|other| other != leader));
        leader
    }

    /// Starts a broker that was killed, and waits until it has all that the others have of these topics.
    pub fn start_again(&mut self, broker: usize, topics: &[&str]) {
        self.0[broker].start_without_waiting();
        self.await_all();
        wait_until("all copies are whole", || topics.iter().all(|topic| self.is_in_sync(topic)));
    }

    fn await_all(&self) {
        let known = || self.known(None).is_some_and(|(brokers, _)| brokers == self.0.len());
        let printed = || self.0.iter().map(Broker::output).collect::<String>();
        assert!(holds_within(crate::DEADLINE, known), "not all brokers answer; they say:\n{}", printed());
    }

    fn is_in_sync(&self, topic: &str) -> bool {
        let copies = self.known(Some(topic)).map(|(_, partitions)| partitions);
        copies.is_some_and(|all| !all.is_empty() && all.iter().all(|(_, copies)| *copies == self.0.len()))
    }

    /// The index of the broker that leads a partition.
    fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let (_, partitions) = self.known(Some(topic))?;
        let (leader, _) = partitions.get(usize::try_from(partition).ok()?)?;
        usize::try_from(leader - 1).ok()
    }

    /// Returns the number of brokers, and the leader and the number of in-sync replicas of each partition of a topic.
    fn known(&self, topic: Option<&str>) -> Option<(usize, Vec<(i32, usize)>)> {
        let client: BaseConsumer = self.client().create().expect("the settings of a client are right");
        let known = client.fetch_metadata(topic, RESPONSE_TIME_MAX).ok()?;
        let mut partitions: Vec<_> = known
            .topics()
            .iter()
            .filter(|known| Some(known.name()) == topic)
            .flat_map(|known| known.partitions())
            .map(|partition| (partition.id(), partition.leader(), partition.isr().len()))
            .collect();
        partitions.sort_unstable();
        Some((known.brokers().len(), partitions.into_iter().map(|(_, leader, copies)| (leader, copies)).collect()))
    }
}

impl Deref for Cluster {
    type Target = Broker;

    /// Any broker: clients learn of all others from it.
    fn deref(&self) -> &Broker {
        self.0.first().expect("a cluster has brokers")
    }
}
