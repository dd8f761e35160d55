//! A consumer that reads assigned partitions from given offsets, and passes on records without copies.
//!
//! It does not join a group that balances partitions. The library's wrapper reports the end of a partition without its topic, so events are
//! read from the library itself.

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

/// Interval of the consumer's statistics.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(2);

/// The first and the next offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The offset of the oldest existing record.
    pub low: u64,
    /// The offset after the newest readable record.
    pub high: u64,
}

/// A consumer.
pub struct Consumer {
    // Dropped before the client that it belongs to.
    queue: Queue,
    client: BaseConsumer<ClientLog>,
}

/// The library's queue of events for a consumer.
struct Queue(NonNull<native::rd_kafka_queue_t>);

// SAFETY: the library's queues may be used by any thread, and by several at the same time.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it came from `rd_kafka_queue_get_consumer`, whose result the caller has to destroy, and it is used nowhere else.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

/// The result of polling a consumer.
pub enum ConsumerEvent<'a> {
    /// A record.
    Record(Record<'a>),
    /// There are currently no records after this offset.
    End {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: i32,
        /// The offset of the next record.
        offset: u64,
    },
    /// A partition cannot be read.
    Fault {
        /// The topic and partition.
        of: Option<(&'a str, i32)>,
        /// The error.
        fault: KafkaFault,
    },
    /// The client's statistics as JSON.
    Statistics(&'a [u8]),
    /// An event that concerns no partition and has been handled.
    Other,
}

/// A record, valid as long as its event.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    message: &'a native::rd_kafka_message_t,
    event: PhantomData<&'a ()>,
}

/// An event of the library, which owns its contents.
struct Event(NonNull<native::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it came from `rd_kafka_queue_poll`, and what borrows from it does not outlive it.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

impl Consumer {
    /// Creates a consumer with these settings, which reads no partition yet. It commits offsets for the group `group`.
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
            // A job that reads nothing for long is slow, not dead.
            .set("max.poll.interval.ms", "86400000")
            .set("queued.max.messages.kbytes", (AHEAD_BYTES_MAX >> 10).to_string())
            .set("queued.min.messages", "100000")
            .set("fetch.max.bytes", AHEAD_BYTES_MAX.to_string())
            .set("statistics.interval.ms", STATISTICS_INTERVAL.as_millis().to_string())
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            .set("topic.metadata.refresh.interval.ms", "30000");
        let client: BaseConsumer<ClientLog> =
            settings.create_with_context(ClientLog::default()).map_err(|error| KafkaFault::from_error(&error))?;
        // SAFETY: the client lives, and has a group, so it has such a queue.
        let queue = unsafe { native::rd_kafka_queue_get_consumer(client.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| KafkaFault::permanent("the client has no queue"))?;
        Ok(Consumer { queue: Queue(queue), client })
    }

    /// Returns the client's log and problems.
    pub fn client_log(&self) -> &ClientLog {
        self.client.context()
    }

    /// Interprets an error together with earlier reports.
    pub fn fault(&self, error: &KafkaError) -> KafkaFault {
        self.client_log().fault(error)
    }

    /// Returns topics with their numbers of partitions: one topic, or all. An error of the one topic is an error.
    pub fn partitions(&self, topic: Option<&str>, time_max: Duration) -> Result<Vec<(String, i32)>, KafkaFault> {
        let metadata = self.client.fetch_metadata(topic, time_max).map_err(|error| self.fault(&error))?;
        let mut found = Vec::new();
        for known in metadata.topics() {
            match known.error() {
                None => found.push((known.name().to_owned(), known.partitions().len() as i32)),
                Some(error) if topic.is_some() => return Err(KafkaFault::from_code(RDKafkaErrorCode::from(error), "")),
                // When all topics are listed, one that cannot be read now may be readable later.
                Some(_) => {}
            }
        }
        Ok(found)
    }

    /// Returns the cluster's id; `None` if it does not report one.
    pub fn cluster(&self, time_max: Duration) -> Option<String> {
        self.client.client().fetch_cluster_id(time_max)
    }

    /// Returns the ids of topics as numbers, if the cluster has topic ids.
    pub fn topic_ids(&self, topics: &[&str], time_max: Duration) -> Result<BTreeMap<String, (i64, i64)>, KafkaFault> {
        // SAFETY: the client lives as long as `self`.
        let requested = unsafe { topic_ids::query(self.client.client().native_ptr(), topics, time_max) };
        requested.map_err(|fault| self.with_reason(fault))
    }

    /// Returns whether each of these topics is compacted, or why the cluster does not show it.
    pub fn compacted(
        &self,
        topics: &[&str],
        time_max: Duration,
    ) -> Result<BTreeMap<String, Result<bool, RDKafkaErrorCode>>, KafkaFault> {
        // SAFETY: the client lives as long as `self`.
        let requested = unsafe { topic_policies::query(self.client.client().native_ptr(), topics, time_max) };
        requested.map_err(|fault| self.with_reason(fault))
    }

    /// Replaces a fault by what the client knows of its cause, if anything.
    fn with_reason(&self, fault: KafkaFault) -> KafkaFault {
        match fault.is_transient() {
            true => self.client_log().rejection().or(self.client_log().unreachable()).unwrap_or(fault),
            false => fault,
        }
    }

    /// Returns the offset range of a partition.
    pub fn bounds(&self, topic: &str, partition: i32, time_max: Duration) -> Result<Bounds, KafkaFault> {
        let (low, high) =
            self.client.fetch_watermarks(topic, partition, time_max).map_err(|error| self.fault(&error))?;
        let known = |offset: i64| {
            u64::try_from(offset)
                .map_err(|_| KafkaFault::transient("the cluster did not return the first offset of the partition"))
        };
        Ok(Bounds { low: known(low)?, high: known(high)? })
    }

    /// Returns the first offsets at or after this time, in the order of the partitions; `None`: no record is that late.
    pub fn offsets_at(
        &self,
        partitions: &[(String, i32)],
        time_ms: i64,
        time_max: Duration,
    ) -> Result<Vec<Option<u64>>, KafkaFault> {
        let mut requested = TopicPartitionList::new();
        for (topic, partition) in partitions {
            let added = requested.add_partition_offset(topic, *partition, Offset::Offset(time_ms));
            added.map_err(|error| KafkaFault::from_error(&error))?;
        }
        let response = self.client.offsets_for_times(requested, time_max).map_err(|error| self.fault(&error))?;
        let offset = |(topic, partition): &(String, i32)| {
            let Some(found) = response.find_partition(topic, *partition) else {
                return Err(KafkaFault::transient("the cluster did not return the offset for that time"));
            };
            found.error().map_err(|error| self.fault(&error))?;
            match found.offset() {
                Offset::Offset(offset) => Ok(u64::try_from(offset).ok()),
                _ => Ok(None),
            }
        };
        partitions.iter().map(offset).collect()
    }

    /// Returns the offsets after the newest readable records, of all partitions for which the cluster reports it.
    pub fn end_offsets(
        &self,
        partitions: &[(String, i32)],
        time_max: Duration,
    ) -> Result<Vec<(String, i32, u64)>, KafkaFault> {
        let mut requested = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            // This value requests the end instead of a time.
            let added = requested.add_partition_offset(topic, *partition, Offset::End);
            added.map_err(|error| KafkaFault::from_error(&error))?;
        }
        let response = self.client.offsets_for_times(requested, time_max).map_err(|error| self.fault(&error))?;
        let ends = response.elements().into_iter().filter_map(|found| match (found.error(), found.offset()) {
            (Ok(()), Offset::Offset(end)) => {
                Some((found.topic().to_owned(), found.partition(), u64::try_from(end).ok()?))
            }
            _ => None,
        });
        Ok(ends.collect())
    }

    /// Adds these partitions, to be read from these offsets.
    pub fn assign(&self, partitions: &[(&str, i32, u64)]) -> Result<(), KafkaFault> {
        let list = list(partitions)?;
        self.client.incremental_assign(&list).map_err(|error| self.fault(&error))
    }

    /// Stops reading these partitions.
    pub fn unassign(&self, partitions: &[(&str, i32, u64)]) -> Result<(), KafkaFault> {
        let list = list(partitions)?;
        self.client.incremental_unassign(&list).map_err(|error| self.fault(&error))
    }

    /// Commits these offsets for the group, without waiting for a response.
    pub fn commit(&self, partitions: &[(&str, i32, u64)]) -> Result<(), KafkaFault> {
        self.client.commit(&list(partitions)?, CommitMode::Async).map_err(|error| self.fault(&error))
    }

    /// Passes the next event within this time to `take`. `None`: there was none.
    pub fn next<T>(&self, time_max: Duration, take: impl FnOnce(ConsumerEvent<'_>) -> T) -> Option<T> {
        let time_max = i32::try_from(time_max.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives as long as `self`; the caller has to destroy a result, which `Event` does.
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
                let statistics = unsafe { text(native::rd_kafka_event_stats(event.0.as_ptr())) };
                take(ConsumerEvent::Statistics(statistics.unwrap_or_default().as_bytes()))
            }
            _ => take(ConsumerEvent::Other),
        })
    }

    fn error<T>(&self, event: &Event, take: impl FnOnce(ConsumerEvent<'_>) -> T) -> T {
        // SAFETY: the event lives; the library knows the code and the text of an error event.
        let code = unsafe { native::rd_kafka_event_error(event.0.as_ptr()) };
        let code = RDKafkaErrorCode::from(code);
        // SAFETY: as above; the text belongs to the event.
        let reason = unsafe { text(native::rd_kafka_event_error_string(event.0.as_ptr())) }.unwrap_or_default();
        // SAFETY: as above; the caller has to destroy a result, which happens below.
        let of = unsafe { native::rd_kafka_event_topic_partition(event.0.as_ptr()) };
        let Some(of) = NonNull::new(of) else {
            self.client_log().error(KafkaError::Global(code), &reason);
            return take(ConsumerEvent::Other);
        };
        // SAFETY: it is not null and lives until it is destroyed, once, and the topic that it names is not used any longer.
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
        let fault = KafkaFault::from_code(code, &reason);
        take(ConsumerEvent::Fault { of: (!topic.is_empty()).then_some((topic.as_str(), partition)), fault })
    }

    fn log(&self, event: &Event) {
        let (mut facility, mut text_pointer, mut level): (*const c_char, *const c_char, i32) =
            (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the event is one of the log; pointers into it and a number are written.
        let is_error =
            unsafe { native::rd_kafka_event_log(event.0.as_ptr(), &mut facility, &mut text_pointer, &mut level) };
        if is_error == 0 {
            // SAFETY: both are strings of the event, which lives.
            let (facility, text_pointer) = unsafe { (text(facility), text(text_pointer)) };
            let level = if level <= 2 { RDKafkaLogLevel::Critical } else { RDKafkaLogLevel::Info };
            self.client_log().log(level, facility.unwrap_or_default().trim(), text_pointer.unwrap_or_default().trim());
        }
    }
}

/// Copies a string of the library; `None` if it is null.
///
/// # Safety
/// It is null, or a string that ends in a NUL byte.
unsafe fn text(of: *const c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    (!of.is_null()).then(|| unsafe { CStr::from_ptr(of) }.to_string_lossy().into_owned())
}

fn list(partitions: &[(&str, i32, u64)]) -> Result<TopicPartitionList, KafkaFault> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in partitions {
        let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, *partition, offset).map_err(|error| KafkaFault::from_error(&error))?;
    }
    Ok(list)
}

impl<'a> Record<'a> {
    /// Returns a number that distinguishes its topic from others of the same consumer, without comparing names.
    pub fn topic_id(&self) -> usize {
        self.message.rkt as usize
    }

    /// Returns its topic.
    pub fn topic(&self) -> String {
        // SAFETY: a message of an event has a topic, whose name lives as long as the client.
        unsafe { text(native::rd_kafka_topic_name(self.message.rkt)) }.unwrap_or_default()
    }

    /// Returns its partition.
    pub fn partition(&self) -> i32 {
        self.message.partition
    }

    /// Returns its offset.
    pub fn offset(&self) -> u64 {
        u64::try_from(self.message.offset).unwrap_or_default()
    }

    /// Returns its key.
    pub fn key(&self) -> Option<&'a [u8]> {
        bytes(self.message.key, self.message.key_len)
    }

    /// Returns its value; `None` differs from an empty one.
    pub fn value(&self) -> Option<&'a [u8]> {
        bytes(self.message.payload, self.message.len)
    }

    /// Returns its time in milliseconds since 1970.
    pub fn time_ms(&self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives.
        let time = unsafe { native::rd_kafka_message_timestamp(self.message, &mut kind) };
        (kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(time)
    }

    /// Returns its headers in order.
    pub fn headers(&self) -> Vec<(&'a str, Option<&'a [u8]>)> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message lives; a pointer to headers that belong to it is written.
        let found = unsafe { native::rd_kafka_message_headers(self.message, &mut headers) };
        let mut all = Vec::new();
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return all;
        }
        for index in 0.. {
            let (mut name, mut value, mut length): (*const c_char, *const c_void, usize) =
                (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the headers live as long as the message; pointers into them and a length are written.
            let got = unsafe { native::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length) };
            if got != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                break;
            }
            // SAFETY: a name is a string of the message.
            let name = unsafe { CStr::from_ptr(name) };
            // A name that is not UTF-8 cannot be that of a column.
            all.push((name.to_str().unwrap_or_default(), bytes(value, length)));
        }
        all
    }
}

/// Returns bytes of a message.
fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the library gives null, or the start and the length of bytes of a message, which live as long as its event.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}
