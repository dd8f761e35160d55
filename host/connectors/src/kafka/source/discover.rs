//! Discovery of a source's cluster, topics and partitions, and checks that they are those of the saved positions.

use super::cluster::{self, EarlierStart, PositionLoss};
use super::records::Records;
use super::settings::KafkaTopics;
use super::{InboxClosed, Partition, SourceReader, Step};
use crate::kafka::RESPONSE_TIME_MAX;
use crate::kafka::fault::KafkaFault;
use crate::kafka::limits::PARTITIONS_MAX;
use millstream_base::error::{Error, Result};
use millstream_job::spec::StreamStart;
use millstream_rows::batch::partition::clock_name;
use millstream_rows::batch::position::{CLUSTER, Position, TOPIC_PREFIX};
use millstream_rows::batch::topic;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Why the check of topics stopped.
enum TopicsStop {
    Closed,
    Later(KafkaFault),
}

impl SourceReader<'_> {
    /// Checks that the saved offsets are of this cluster.
    pub(super) fn check_cluster(&mut self) -> Step {
        let some_topic = match &self.order.spec.topics {
            KafkaTopics::Named(topics) => topics.first().map(String::as_str),
            KafkaTopics::Pattern(_) => None,
        };
        let id = loop {
            // A client connects with its first request, whatever the response.
            let _ = self.consumer.partitions(some_topic, Duration::from_secs(1));
            if let Some(id) = self.consumer.cluster(Duration::from_secs(1)) {
                break id;
            }
            while self.handle_event(Duration::ZERO)? {}
            open!(self.check_outage());
            if self.inbox.closed_within(self.runtime, Duration::ZERO) {
                return Ok(Err(InboxClosed));
            }
        };
        self.outage.recovered(&self.consumer);
        self.inbox.idle(false);
        if !self.order.share.owns(CLUSTER) {
            return Ok(Ok(()));
        }
        let mark = cluster::cluster_mark(&id);
        match self.from.remove(CLUSTER) {
            Some(known) if known.mark != mark => {
                let name = &self.order.source.name;
                Err(Error::job(format!(
                    "source `{name}`: the brokers belong to another cluster (`{id}`) than the job's offsets; name \
                     brokers of the previous cluster, or start from scratch with `--fresh`"
                )))
            }
            Some(_) => Ok(Ok(())),
            None => Ok(self.move_to(CLUSTER.to_owned(), Position { offset: 0, mark })),
        }
    }

    /// Discovers new topics and partitions.
    pub(super) fn discover(&mut self) -> Step {
        let found = match cluster::topics(&self.consumer, &self.order.spec.topics) {
            Ok(found) => found,
            Err(fault) => return self.retry_later(&fault).map(Ok),
        };
        self.report_missing(&found.missing)?;
        match self.check_topics(&found.existing)? {
            Ok(()) => {}
            Err(TopicsStop::Closed) => return Ok(Err(InboxClosed)),
            Err(TopicsStop::Later(fault)) => return self.retry_later(&fault).map(Ok),
        }
        let source = &self.order.source.name;
        if let Err(fault) = self.policies.add(&self.consumer, &found.existing, self.inbox, source) {
            return self.retry_later(&fault).map(Ok);
        }
        let mut new: Vec<(String, i32)> = Vec::new();
        let mut names = Vec::new();
        for (topic, partitions) in &found.existing {
            for number in 0..*partitions {
                if self.indexes.contains_key(&(topic.clone(), number)) {
                    continue;
                }
                let name = topic::name(topic, number);
                if self.order.share.owns(&name) {
                    new.push((topic.clone(), number));
                }
                names.push(name);
            }
        }
        if self.partitions.len() + new.len() > PARTITIONS_MAX {
            let (source, all) = (&self.order.source.name, self.partitions.len() + new.len());
            let what = format!("{all} partitions, and one source reads at most {PARTITIONS_MAX}");
            return Err(Error::environment(format!("source `{source}`: the topics have {what}; name fewer topics")));
        }
        if self.order.share.reports_clocks() {
            self.inbox.report_no_partitions(found.existing.iter().all(|(_, partitions)| *partitions == 0));
            self.report_new_clocks(&names);
        }
        if new.is_empty() {
            self.discovered = true;
            return Ok(Ok(()));
        }
        new.sort();
        self.begin(new)
    }

    /// Starts to read these partitions.
    fn begin(&mut self, new: Vec<(String, i32)>) -> Step {
        let known = EarlierStart { first: self.first && !self.discovered, from: &self.from };
        let starts = match cluster::starts(&self.consumer, self.order.spec, &new, &known) {
            Ok(starts) => starts,
            Err(PositionLoss::Fault(fault)) => return self.retry_later(&fault).map(Ok),
            Err(lost) => return Err(lost.into_error(&self.order.source.name)),
        };
        let assigned: Vec<(&str, i32, u64)> =
            new.iter().zip(&starts).map(|((topic, number), start)| (topic.as_str(), *number, *start)).collect();
        if let Err(fault) = self.consumer.assign(&assigned) {
            return self.retry_later(&fault).map(Ok);
        }
        let more = if self.partitions.is_empty() { "" } else { "more " };
        let plural = if new.len() == 1 { "" } else { "s" };
        info!("source `{}`: reads {} {more}partition{plural}", self.order.source.name, new.len());
        // They may have records.
        self.inbox.idle(false);
        self.ends.add(&new);
        let begun = self.first && !self.discovered && self.order.spec.start == StreamStart::Latest;
        self.discovered = true;
        for ((topic, number), start) in new.into_iter().zip(starts) {
            let name = topic::name(&topic, number);
            if self.from.remove(&name).is_none()
                && let Err(closed) = self.move_to(name.clone(), Position { offset: start, mark: 0 })
            {
                return Ok(Err(closed));
            }
            self.indexes.insert((topic.clone(), number), self.partitions.len());
            self.partitions.push(Partition {
                name,
                topic,
                number,
                records: Records::new(self.order.source, start),
                at_end: false,
            });
        }
        // Records from now on must be read after a crash too, so a batch must store where the job began.
        if begun {
            self.inbox.begin_batch();
        }
        Ok(Ok(()))
    }

    /// Checks that the saved offsets are of these topics, and not of recreated ones with the same names.
    fn check_topics(&mut self, existing: &[(String, i32)]) -> Result<Result<(), TopicsStop>> {
        let own = |(topic, _): &&(String, i32)| self.order.share.owns(&format!("{TOPIC_PREFIX}{topic}"));
        let topics: Vec<&str> = existing.iter().filter(own).map(|(topic, _)| topic.as_str()).collect();
        if topics.is_empty() {
            return Ok(Ok(()));
        }
        let ids = match self.consumer.topic_ids(&topics, RESPONSE_TIME_MAX) {
            Ok(ids) => ids,
            Err(fault) => return Ok(Err(TopicsStop::Later(fault))),
        };
        for (topic, id) in ids {
            let (name, mark) = (format!("{TOPIC_PREFIX}{topic}"), cluster::cluster_mark(&format!("{id:?}")));
            match self.from.get(&name) {
                Some(known) if known.mark != mark => {
                    let source = &self.order.source.name;
                    return Err(Error::job(format!(
                        "source `{source}`: topic `{topic}` was deleted and recreated, so the job's offsets do not \
                         apply to it; restore the old topic, or start from scratch with `--fresh`"
                    )));
                }
                Some(_) => {}
                None => {
                    let position = Position { offset: 0, mark };
                    self.from.insert(name.clone(), position);
                    if let Err(InboxClosed) = self.move_to(name, position) {
                        return Ok(Err(TopicsStop::Closed));
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    /// Announces partitions that now have a watermark.
    fn report_new_clocks(&mut self, names: &[String]) {
        let of_clock = |name: &String| !self.from.contains_key(&clock_name(name));
        let new: Vec<String> = names.iter().filter(|name| of_clock(name)).cloned().collect();
        if new.is_empty() {
            return;
        }
        self.inbox.report_partitions(&new, &[]);
        self.from.extend(new.iter().map(|name| (clock_name(name), Position::default())));
    }

    /// Reports named topics that do not exist, each once.
    fn report_missing(&mut self, missing: &[String]) -> Result<()> {
        let source = &self.order.source.name;
        for topic in missing {
            // The client reports a topic that was read and then deleted.
            if self.partitions.iter().any(|partition| partition.topic == *topic) {
                continue;
            }
            let reported = self.missing.contains_key(topic);
            let since = *self.missing.entry(topic.clone()).or_insert_with(Instant::now);
            let was_read = |name: &&String| topic::parse(name).is_some_and(|(of, _)| of == topic);
            match self.from.keys().find(was_read) {
                // A broker that just started does not know all topics immediately.
                Some(_) if since.elapsed() < cluster::LEADER_TIME_MAX => {}
                Some(name) => {
                    let offset = self.from.get(name).map_or(0, |position| position.offset);
                    return Err(Error::job(format!(
                        "source `{source}`: topic `{topic}` no longer exists, but the job resumes at offset \
                         {offset} of its partition {}; recreate it with its records, or start from scratch with \
                         `--fresh`",
                        topic::shown(name).rsplit('/').next().unwrap_or_default()
                    )));
                }
                None if !reported => {
                    warn!("source `{source}`: topic `{topic}` does not exist; it is read as soon as it is created")
                }
                None => {}
            }
        }
        self.missing.retain(|topic, _| {
            let still = missing.contains(topic);
            if !still {
                info!("source `{source}`: topic `{topic}` exists now");
            }
            still
        });
        Ok(())
    }
}
