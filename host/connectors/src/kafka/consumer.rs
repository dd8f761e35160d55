//! A consumer that is told which partitions to read and from where, and passes on what comes, without a copy.
//!
//! It belongs to no group that shares partitions out. The wrapper of the library tells the number of a partition that has come
//! to its end and not its topic, so events are taken from the library itself.

use super::fault::KafkaFault;
use super::{ClientLog, topic_ids, topic_policies};
use crate::kafka::limits::AHEAD_BYTES_MAX;
use rdkafka::bindings as native;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

/// How often a consumer tells how it stands.
const STATISTICS_EVERY: Duration = Duration::from_secs(2);

/// Where a cluster begins to count offsets, and where it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The offset of the oldest record that is there.
    pub low: u64,
    /// The offset behind the newest one that may be read.
    pub high: u64,
}

/// A consumer.
pub struct Consumer {
    // It goes before the client that it belongs to.
    queue: Queue,
    client: BaseConsumer<ClientLog>,
}

/// The library's queue of what a consumer is to hear.
struct Queue(NonNull<native::rd_kafka_queue_t>);

// SAFETY: the library's queues may be used by any thread, and by several at once.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it came from `rd_kafka_queue_get_consumer`, whose result is for the caller to destroy, and is used nowhere else.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// What a consumer gets when it polls.
pub enum ConsumerEvent<'a> {
    /// A record.
    Record(Record<'a>),
    /// There is nothing behind this offset now.
    End {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
        /// The offset of the next record, whenever it comes.
        offset: u64,
    },
    /// A partition cannot be read.
    Fault {
        /// The topic and partition.
        of: Option<(&'a str, i32)>,
        /// What is wrong.
        fault: KafkaFault,
    },
    /// How the client stands, as JSON.
    Statistics(&'a [u8]),
    /// Something that concerns no partition, and has been dealt with.
    Other,
}

/// A record, as long as its event is there.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    message: &'a native::rd_kafka_message_t,
    event: PhantomData<&'a ()>,
}

/// An event of the library, which owns what it tells of.
struct Event(NonNull<native::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it came from `rd_kafka_queue_poll`, and what borrows from it does not outlive it.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

impl Consumer {
    /// A consumer of the cluster that the settings are of, which reads no partition yet. `group`: whom it commits offsets for.
    pub fn new(mut settings: ClientConfig, group: &str) -> Result<Consumer, KafkaFault> {
        settings
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            // A job that takes in nothing for long is slow, and not dead.
            .set("max.poll.interval.ms", "86400000")
            .set("queued.max.messages.kbytes", (AHEAD_BYTES_MAX >> 10).to_string())
            .set("queued.min.messages", "100000")
            .set("fetch.max.bytes", AHEAD_BYTES_MAX.to_string())
            .set("statistics.interval.ms", STATISTICS_EVERY.as_millis().to_string())
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            .set("topic.metadata.refresh.interval.ms", "30000");
        let client: BaseConsumer<ClientLog> =
            settings.create_with_context(ClientLog::default()).map_err(|error| KafkaFault::of(&error))?;
        // SAFETY: the client lives, and has a group, so it has such a queue.
        let queue = unsafe { native::rd_kafka_queue_get_consumer(client.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| KafkaFault::lasting("the client has no queue"))?;
        Ok(Consumer { queue: Queue(queue), client })
    }

    /// What the cluster says beside what it is asked.
    pub fn told(&self) -> &ClientLog {
        self.client.context()
    }

    /// What an error means, after what was heard so far.
    pub fn fault(&self, error: &KafkaError) -> KafkaFault {
        self.told().fault(error)
    }

    /// Topics and how many partitions each has; of one topic, or of all. An error of the one topic is an error.
    pub fn partitions(&self, topic: Option<&str>, time_max: Duration) -> Result<Vec<(String, i32)>, KafkaFault> {
        let metadata = self.client.fetch_metadata(topic, time_max).map_err(|error| self.fault(&error))?;
        let mut found = Vec::new();
        for known in metadata.topics() {
            match known.error() {
                None => found.push((known.name().to_owned(), known.partitions().len() as i32)),
                Some(error) if topic.is_some() => return Err(KafkaFault::told(RDKafkaErrorCode::from(error), "")),
                // Of all topics, one that cannot be seen now is seen later.
                Some(_) => {}
            }
        }
        Ok(found)
    }

    /// The name that the cluster has for itself; `None`: it does not say.
    pub fn cluster(&self, time_max: Duration) -> Option<String> {
        self.client.client().fetch_cluster_id(time_max)
    }

    /// The ids of topics, as numbers, as far as the cluster has such.
    pub fn topic_ids(&self, topics: &[&str], time_max: Duration) -> Result<BTreeMap<String, (i64, i64)>, KafkaFault> {
        // SAFETY: the client lives as long as `self`.
        let asked = unsafe { topic_ids::ask(self.client.client().native_ptr(), topics, time_max) };
        asked.map_err(|fault| self.with_reason(fault))
    }

    /// Whether each of these topics is compacted, or why the cluster does not show it.
    pub fn compacted(
        &self,
        topics: &[&str],
        time_max: Duration,
    ) -> Result<BTreeMap<String, Result<bool, RDKafkaErrorCode>>, KafkaFault> {
        // SAFETY: the client lives as long as `self`.
        let asked = unsafe { topic_policies::ask(self.client.client().native_ptr(), topics, time_max) };
        asked.map_err(|fault| self.with_reason(fault))
    }

    /// A fault, or what the client knows of its reason.
    fn with_reason(&self, fault: KafkaFault) -> KafkaFault {
        match fault.passes() {
            true => self.told().refusal().or(self.told().away()).unwrap_or(fault),
            false => fault,
        }
    }

    /// Where a partition begins and ends.
    pub fn bounds(&self, topic: &str, partition: i32, time_max: Duration) -> Result<Bounds, KafkaFault> {
        let (low, high) =
            self.client.fetch_watermarks(topic, partition, time_max).map_err(|error| self.fault(&error))?;
        let known = |offset: i64| {
            u64::try_from(offset)
                .map_err(|_| KafkaFault::passing("the cluster does not say where the partition begins"))
        };
        Ok(Bounds { low: known(low)?, high: known(high)? })
    }

    /// The first offsets of this time or later, in the order of the partitions; `None`: nothing is as late as that.
    pub fn offsets_at(
        &self,
        partitions: &[(String, i32)],
        time_ms: i64,
        time_max: Duration,
    ) -> Result<Vec<Option<u64>>, KafkaFault> {
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in partitions {
            let added = asked.add_partition_offset(topic, *partition, Offset::Offset(time_ms));
            added.map_err(|error| KafkaFault::of(&error))?;
        }
        let answered = self.client.offsets_for_times(asked, time_max).map_err(|error| self.fault(&error))?;
        let offset = |(topic, partition): &(String, i32)| {
            let Some(found) = answered.find_partition(topic, *partition) else {
                return Err(KafkaFault::passing("the cluster does not say where the partition is at that time"));
            };
            found.error().map_err(|error| self.fault(&error))?;
            match found.offset() {
                Offset::Offset(offset) => Ok(u64::try_from(offset).ok()),
                _ => Ok(None),
            }
        };
        partitions.iter().map(offset).collect()
    }

    /// The offsets behind the newest records that may be read, of all partitions of which the cluster says so.
    pub fn ends(
        &self,
        partitions: &[(String, i32)],
        time_max: Duration,
    ) -> Result<Vec<(String, i32, u64)>, KafkaFault> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            // In the place of a time this asks for the end.
            let added = asked.add_partition_offset(topic, *partition, Offset::End);
            added.map_err(|error| KafkaFault::of(&error))?;
        }
        let answered = self.client.offsets_for_times(asked, time_max).map_err(|error| self.fault(&error))?;
        let ends = answered.elements().into_iter().filter_map(|found| match (found.error(), found.offset()) {
            (Ok(()), Offset::Offset(end)) => {
                Some((found.topic().to_owned(), found.partition(), u64::try_from(end).ok()?))
            }
            _ => None,
        });
        Ok(ends.collect())
    }

    /// Reads these partitions as well, from these offsets on.
    pub fn assign(&self, partitions: &[(&str, i32, u64)]) -> Result<(), KafkaFault> {
        let list = list(partitions)?;
        self.client.incremental_assign(&list).map_err(|error| self.fault(&error))
    }

    /// Reads these partitions no longer.
    pub fn unassign(&self, partitions: &[(&str, i32, u64)]) -> Result<(), KafkaFault> {
        let list = list(partitions)?;
        self.client.incremental_unassign(&list).map_err(|error| self.fault(&error))
    }

    /// Tells the group how far these partitions were read; does not wait for an answer.
    pub fn commit(&self, partitions: &[(&str, i32, u64)]) -> Result<(), KafkaFault> {
        self.client.commit(&list(partitions)?, CommitMode::Async).map_err(|error| self.fault(&error))
    }

    /// Passes on the next thing that it hears within this time. `None`: nothing.
    pub fn next<T>(&self, time_max: Duration, take: impl FnOnce(ConsumerEvent<'_>) -> T) -> Option<T> {
        let time_max = i32::try_from(time_max.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives as long as `self`; a result is for the caller to destroy, which `Event` does.
        let event = unsafe { native::rd_kafka_queue_poll(self.queue.0.as_ptr(), time_max) };
        let event = Event(NonNull::new(event)?);
        // SAFETY: the event lives.
        let kind = unsafe { native::rd_kafka_event_type(event.0.as_ptr()) };
        Some(match kind {
            native::RD_KAFKA_EVENT_FETCH => {
                // SAFETY: the event is of this kind; its message lives as long as it does, which is longer than `take` runs.
                let message = unsafe { native::rd_kafka_event_message_next(event.0.as_ptr()).as_ref() };
                take(message.map_or(ConsumerEvent::Other, |message| {
                    ConsumerEvent::Record(Record { message, event: PhantomData })
                }))
            }
            native::RD_KAFKA_EVENT_ERROR => self.error(&event, take),
            native::RD_KAFKA_EVENT_LOG => {
                self.log(&event);
                take(ConsumerEvent::Other)
            }
            native::RD_KAFKA_EVENT_STATS => {
                // SAFETY: the event is of this kind; its text lives as long as it does.
                let told = unsafe { text(native::rd_kafka_event_stats(event.0.as_ptr())) };
                take(ConsumerEvent::Statistics(told.unwrap_or_default().as_bytes()))
            }
            _ => take(ConsumerEvent::Other),
        })
    }

    fn error<T>(&self, event: &Event, take: impl FnOnce(ConsumerEvent<'_>) -> T) -> T {
        // SAFETY: the event lives; of an event that is an error the library knows code and text.
        let code = unsafe { native::rd_kafka_event_error(event.0.as_ptr()) };
        let code = RDKafkaErrorCode::from(code);
        // SAFETY: as above; the text belongs to the event.
        let reason = unsafe { text(native::rd_kafka_event_error_string(event.0.as_ptr())) }.unwrap_or_default();
        // SAFETY: as above; the result, where there is one, is for the caller to destroy, which happens below.
        let of = unsafe { native::rd_kafka_event_topic_partition(event.0.as_ptr()) };
        let Some(of) = NonNull::new(of) else {
            self.told().error(KafkaError::Global(code), &reason);
            return take(ConsumerEvent::Other);
        };
        // SAFETY: it is not null and lives until it is destroyed, once, and the topic that it names is not used any more.
        let (topic, partition, offset) = unsafe {
            let found = of.as_ref();
            let found = (text(found.topic).unwrap_or_default(), found.partition, found.offset);
            native::rd_kafka_topic_partition_destroy(of.as_ptr());
            found
        };
        if code == RDKafkaErrorCode::PartitionEOF {
            let offset = u64::try_from(offset).unwrap_or_default();
            return take(ConsumerEvent::End { topic: &topic, partition, offset });
        }
        let fault = KafkaFault::told(code, &reason);
        take(ConsumerEvent::Fault { of: (!topic.is_empty()).then_some((topic.as_str(), partition)), fault })
    }

    fn log(&self, event: &Event) {
        let (mut facility, mut said, mut level): (*const c_char, *const c_char, i32) =
            (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the event is one of the log; what is written are pointers into it, and a number.
        let told = unsafe { native::rd_kafka_event_log(event.0.as_ptr(), &mut facility, &mut said, &mut level) };
        if told == 0 {
            // SAFETY: both are texts of the event, which lives.
            let (facility, said) = unsafe { (text(facility), text(said)) };
            let level = if level <= 2 { RDKafkaLogLevel::Critical } else { RDKafkaLogLevel::Info };
            self.told().log(level, facility.unwrap_or_default().trim(), said.unwrap_or_default().trim());
        }
    }
}

/// # Safety
/// It is null, or a text that ends in a zero byte.
unsafe fn text(of: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    (!of.is_null()).then(|| unsafe { CStr::from_ptr(of) }.to_string_lossy().into_owned())
}

fn list(partitions: &[(&str, i32, u64)]) -> Result<TopicPartitionList, KafkaFault> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in partitions {
        let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, *partition, offset).map_err(|error| KafkaFault::of(&error))?;
    }
    Ok(list)
}

impl<'a> Record<'a> {
    /// What tells its topic from others of the same consumer, without looking at names.
    pub fn topic_id(&self) -> usize {
        self.message.rkt as usize
    }

    /// Its topic.
    pub fn topic(&self) -> String {
        // SAFETY: a message of an event has a topic, whose name lives as long as the client.
        unsafe { text(native::rd_kafka_topic_name(self.message.rkt)) }.unwrap_or_default()
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.message.partition
    }

    /// Its offset.
    pub fn offset(&self) -> u64 {
        u64::try_from(self.message.offset).unwrap_or_default()
    }

    /// Its key.
    pub fn key(&self) -> Option<&'a [u8]> {
        bytes(self.message.key, self.message.key_len)
    }

    /// Its value; `None` is not the same as an empty one.
    pub fn value(&self) -> Option<&'a [u8]> {
        bytes(self.message.payload, self.message.len)
    }

    /// Its time, in milliseconds since 1970.
    pub fn time_ms(&self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives.
        let time = unsafe { native::rd_kafka_message_timestamp(self.message, &mut kind) };
        (kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(time)
    }

    /// Its headers, in order.
    pub fn headers(&self) -> Vec<(&'a str, Option<&'a [u8]>)> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message lives; what is written is a pointer to headers that belong to it.
        let found = unsafe { native::rd_kafka_message_headers(self.message, &mut headers) };
        let mut all = Vec::new();
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return all;
        }
        for place in 0.. {
            let (mut name, mut value, mut length): (*const c_char, *const c_void, usize) =
                (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the headers live as long as the message; what is written are pointers into them, and a length.
            let got = unsafe { native::rd_kafka_header_get_all(headers, place, &mut name, &mut value, &mut length) };
            if got != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                break;
            }
            // SAFETY: a name is a text of the message's.
            let name = unsafe { CStr::from_ptr(name) };
            // A name that is no text is one that no column can be of.
            all.push((name.to_str().unwrap_or_default(), bytes(value, length)));
        }
        all
    }
}

/// Bytes of a message.
fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the library gives the start and the length of bytes of a message, which live as long as its event, or null.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}
