//! A stream of Kinesis. Each shard is a partition, known by its id, and read by itself: in order, and to its end before those that it was
//! split or merged into. A position is the sequence number of the last record that was read, and how many of those that were packed in it.

mod packed;
mod place;
mod shards;

use crate::batch::envelope::ID;
use crate::batch::reading::{Message, ReadContent, ReadPartition, ReadRows, ReadTrouble};
use crate::error::Error;
use crate::job::spec::{KafkaStart, KinesisReads, SourceSpec};
use crate::kinesis::{Asker, Stream, Trouble};
use crate::objects::environment;
use crate::shown;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use place::{Place, Read, is_sequence};
use serde::Deserialize;
use serde_json::json;
use shards::{Facts, Shards};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::{Builder, Runtime};

/// About how many bytes one answer is to have.
const ANSWER_BYTES: u64 = 1 << 20;
/// Bytes of a record until some were seen.
const RECORD_BYTES: u64 = 1 << 10;
/// Records of one answer.
const RECORDS_MAX: u64 = 10_000;
/// How often a shard is read, at most and, where nothing comes, at least. All readers of a shard together may read it 5 times a second.
const EVERY_MIN: Duration = Duration::from_millis(250);
const EVERY_MAX: Duration = Duration::from_secs(1);
/// How long a reader waits that was told to, and how often, until it says so.
const THROTTLED: Duration = Duration::from_secs(1);
const THROTTLED_MAX: u32 = 3;
/// How many answers may be empty on the way through a shard until that is taken for a moment without records.
const EMPTY_MAX: u32 = 8;
/// How often a position is put down that moved by time alone.
const NOTED_EVERY_MS: i64 = 10 * 60 * 1000;
/// How long the oldest records of a shard may vanish while a job that has just begun reads them: it wanted those that are there.
const BEGINNING: Duration = Duration::from_secs(5 * 60);
/// How far the clocks of this machine and of the server may be apart.
const CLOCKS_APART_MS: i64 = 10 * 60 * 1000;

/// What all readers of a source share.
pub struct Shared {
    source: String,
    stream: Arc<Stream>,
    start: KafkaStart,
    /// Its own, since readers may still wait when that of the job shuts down.
    runtime: Runtime,
    known: Mutex<Known>,
}

/// What is known of the stream.
#[derive(Default)]
struct Known {
    /// `None`: nobody has asked yet.
    facts: Option<Facts>,
    /// From which time on it is read; `None` within: from the oldest records on.
    from_ms: Option<Option<i64>>,
    shards: Shards,
    /// Where earlier starts have come to, until it is known that they can go on there.
    before: Vec<(String, Vec<u8>)>,
}

/// The stream of a source, or the key that is wrong and why.
pub fn stream(reads: &KinesisReads) -> Result<Stream, (&'static str, String)> {
    Stream::of(&reads.stream, reads.region.as_deref(), &environment())
}

impl Shared {
    /// Of a source.
    pub fn new(source: &SourceSpec, reads: &KinesisReads, stream: Stream) -> Result<Shared, Error> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("kinesis").enable_all().build();
        let runtime = runtime.map_err(|cause| Error::environment(format!("cannot start a runtime: {cause}")))?;
        Ok(Shared {
            source: source.name.clone(),
            stream: Arc::new(stream),
            start: reads.start,
            runtime,
            known: Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that is done under the lock can leave it half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lasting(&self, what: &str) -> ReadTrouble {
        ReadTrouble::Lasting(Error::job(format!("source `{}`: {what}", self.source)))
    }

    fn told(&self, trouble: Trouble) -> ReadTrouble {
        match trouble {
            Trouble::Passing(why) | Trouble::Throttled(why) => ReadTrouble::Passing(why),
            Trouble::Expired => ReadTrouble::Passing("the iterator is too old".into()),
            Trouble::Invalid(why) | Trouble::Lasting(why) => self.lasting(&why),
        }
    }

    fn lost(&self, shard: &str, until_ms: i64) -> ReadTrouble {
        let until = crate::sink::shown_time(crate::ids::BatchTime(until_ms.saturating_mul(1000)));
        let (place, shard) = (self.stream.place(), shown::harmless(shard, 200));
        self.lasting(&format!(
            "{place}: shard `{shard}` was read up to {until}, and the stream has deleted records since then that the job may not have \
             read; let the stream keep records for longer, and give the source another name to go on with what is there"
        ))
    }

    fn other_stream(&self) -> ReadTrouble {
        self.lasting(&format!(
            "{} is another stream than the one that the job has read; give the source another name to read it from its beginning",
            self.stream.place()
        ))
    }
}

/// Reads one shard, or asks for all.
pub struct Kinesis {
    shared: Arc<Shared>,
    asker: Asker,
    open: Option<Open>,
}

/// A shard that is read.
struct Open {
    shard: String,
    place: Place,
    hash_keys: Option<(u128, u128)>,
    iterator: Option<String>,
    /// Whether no more will come.
    at_end: bool,
    /// What was received and not handed over.
    waiting: VecDeque<Waiting>,
    /// Up to which time all is read once that is handed over.
    until_ms: i64,
    /// Up to which time the place was put down.
    noted_ms: Option<i64>,
    /// Whether the job has not read it before.
    is_new: bool,
    begun: Instant,
    next: Instant,
    every: Duration,
    /// Bytes that a record has, about.
    record_bytes: u64,
}

/// A record, or one of several that were packed in it, and what is read once it is handed over.
struct Waiting {
    read: Read,
    what: What,
}

enum What {
    Message(Message),
    Refused(Vec<u8>, String),
    /// It belongs to another shard, where it comes as well.
    Nothing,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IteratorAnswer {
    shard_iterator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordsAnswer {
    records: Vec<Record>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    sequence_number: String,
    approximate_arrival_timestamp: f64,
    data: String,
    partition_key: String,
}

impl Record {
    fn time_ms(&self) -> i64 {
        (self.approximate_arrival_timestamp * 1000.0).round() as i64
    }
}

impl Kinesis {
    /// One more that reads.
    pub fn new(shared: &Arc<Shared>) -> Kinesis {
        Kinesis { shared: shared.clone(), asker: Asker::new(&shared.stream), open: None }
    }

    /// Looks whether the job can go on where it was, which is asked once.
    fn check(&self, known: &mut Known) -> Result<(), ReadTrouble> {
        let made_s = known.facts.as_ref().map(|facts| facts.made_s);
        for (shard, position) in &known.before {
            let place =
                Place::parse(position).ok_or_else(|| self.shared.lasting("a position of it is none of Kinesis"))?;
            if Some(place.made_s) != made_s {
                return Err(self.shared.other_stream());
            }
            if place.read != Read::All && !known.shards.there.contains_key(shard) {
                return Err(self.shared.lost(shard, place.until_ms));
            }
            known.from_ms = Some(place.from_ms);
        }
        known.before.clear();
        known.from_ms.get_or_insert(match self.shared.start {
            KafkaStart::Earliest => None,
            KafkaStart::Latest => Some(now_ms()),
            KafkaStart::At(ms) => Some(ms),
        });
        Ok(())
    }

    async fn iterator(asker: &mut Asker, shard: &str, mut kind: serde_json::Value) -> Result<String, Trouble> {
        kind["StreamName"] = json!(asker.stream().name());
        kind["ShardId"] = json!(shard);
        let answer: IteratorAnswer = asker.ask("GetShardIterator", kind).await?;
        Ok(answer.shard_iterator)
    }

    async fn records(asker: &mut Asker, iterator: &str, limit: u64) -> Result<RecordsAnswer, Trouble> {
        asker.ask("GetRecords", json!({ "ShardIterator": iterator, "Limit": limit })).await
    }

    /// Whether the last record that was read is still there, and so all that came after it.
    async fn still_there(asker: &mut Asker, open: &Open) -> Result<bool, Trouble> {
        let (Read::Whole(sequence) | Read::Part(sequence, _)) = &open.place.read else { return Ok(false) };
        let kind = json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence });
        let iterator = match Kinesis::iterator(asker, &open.shard, kind).await {
            Err(Trouble::Invalid(_)) => return Ok(false),
            iterator => iterator?,
        };
        let first = Kinesis::records(asker, &iterator, 1).await?;
        Ok(first.records.first().is_some_and(|record| record.sequence_number == *sequence))
    }

    /// Asks for the next records, however long that has to wait. `false`: there are none for now.
    async fn receive(asker: &mut Asker, shared: &Shared, open: &mut Open, rows_max: u32) -> Result<bool, ReadTrouble> {
        let kept_ms = shared.known().facts.as_ref().map_or(i64::MAX, |facts| facts.kept_ms);
        let (mut throttled, mut empty) = (0, 0_u32);
        loop {
            tokio::time::sleep(open.next.saturating_duration_since(Instant::now())).await;
            open.next = Instant::now() + EVERY_MIN;
            let answer = match Kinesis::attempt(asker, open, rows_max, kept_ms).await {
                Ok(answer) => answer,
                Err(ReadFault::Kinesis(Trouble::Throttled(why))) => {
                    throttled += 1;
                    if throttled > THROTTLED_MAX {
                        return Err(ReadTrouble::Passing(why));
                    }
                    open.next = Instant::now() + THROTTLED;
                    continue;
                }
                Err(ReadFault::Kinesis(Trouble::Expired)) if throttled < THROTTLED_MAX => {
                    throttled += 1;
                    open.iterator = None;
                    continue;
                }
                Err(ReadFault::Kinesis(trouble)) => {
                    open.iterator = None;
                    return Err(shared.told(trouble));
                }
                Err(ReadFault::Lost) => return Err(shared.lost(&open.shard, open.place.until_ms)),
            };
            let RecordsAnswer { records, next_shard_iterator, millis_behind_latest } = answer;
            open.at_end = next_shard_iterator.is_none();
            open.iterator = next_shard_iterator;
            let behind_ms = millis_behind_latest.unwrap_or(0).max(0);
            open.until_ms = match records.last() {
                Some(last) => last.time_ms(),
                None => now_ms() - behind_ms,
            };
            if !records.is_empty() {
                open.take(records).map_err(|what| shared.lasting(&what))?;
                return Ok(true);
            }
            empty += 1;
            if open.at_end || behind_ms == 0 || empty > EMPTY_MAX {
                return Ok(false);
            }
        }
    }

    async fn attempt(
        asker: &mut Asker,
        open: &mut Open,
        rows_max: u32,
        kept_ms: i64,
    ) -> Result<RecordsAnswer, ReadFault> {
        let is_beginning = open.is_new && open.begun.elapsed() < BEGINNING;
        if open.until_ms.saturating_add(kept_ms) < now_ms()
            && !is_beginning
            && !Kinesis::still_there(asker, open).await?
        {
            return Err(ReadFault::Lost);
        }
        let iterator = match open.iterator.take() {
            Some(iterator) => iterator,
            None => {
                let kind = match &open.place.read {
                    Read::Whole(sequence) => {
                        json!({ "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence })
                    }
                    Read::Part(sequence, _) => {
                        json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence })
                    }
                    _ => match open.place.from_ms {
                        None => json!({ "ShardIteratorType": "TRIM_HORIZON" }),
                        Some(ms) => json!({ "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": ms as f64 / 1000.0 }),
                    },
                };
                let by_time = kind.get("Timestamp").is_some();
                let made = Kinesis::iterator(asker, &open.shard, kind).await;
                made.map_err(|trouble| match trouble {
                    // The server's clock is behind, so that it takes now for the future.
                    Trouble::Invalid(why) if by_time && open.place.from_ms > Some(now_ms() - CLOCKS_APART_MS) => {
                        Trouble::Passing(why)
                    }
                    Trouble::Invalid(why) if !by_time => Trouble::Lasting(format!(
                        "{why}; shard `{}` does not know the record that was read last; give the source another name to read it \
                         from its beginning",
                        shown::harmless(&open.shard, 200)
                    )),
                    trouble => trouble,
                })?
            }
        };
        let limit = (ANSWER_BYTES / open.record_bytes.max(1)).clamp(1, RECORDS_MAX.min(rows_max.into()));
        let answer = Kinesis::records(asker, &iterator, limit).await;
        if let Err(Trouble::Throttled(_)) = &answer {
            open.iterator = Some(iterator);
        }
        Ok(answer?)
    }
}

/// Why records could not be had.
enum ReadFault {
    Kinesis(Trouble),
    /// Records are not there any more that were not read.
    Lost,
}

impl From<Trouble> for ReadFault {
    fn from(trouble: Trouble) -> ReadFault {
        ReadFault::Kinesis(trouble)
    }
}

impl Open {
    /// What was received waits, each for itself.
    fn take(&mut self, records: Vec<Record>) -> Result<(), String> {
        let (mut bytes, count) = (0_u64, records.len() as u64);
        for record in records {
            if !is_sequence(&record.sequence_number) {
                return Err("what answers there is no Kinesis: a record has no number; mend the endpoint".into());
            }
            bytes += record.data.len() as u64;
            self.take_one(record);
        }
        self.record_bytes = bytes.div_ceil(count.max(1)).max(1);
        Ok(())
    }

    fn take_one(&mut self, record: Record) {
        let sequence = record.sequence_number.clone();
        let time_ms = Some(record.time_ms());
        let whole = Read::Whole(sequence.clone());
        let data = match STANDARD.decode(&record.data) {
            Ok(data) => Bytes::from(data),
            Err(error) => {
                let what = What::Refused(record.data.into_bytes(), format!("it is no base64: {error}"));
                return self.waiting.push_back(Waiting { read: whole, what });
            }
        };
        let Some(packed) = packed::unpack(&data) else {
            let what = What::Message(message(data, record.partition_key, time_ms, &sequence));
            return self.waiting.push_back(Waiting { read: whole, what });
        };
        // Of a record that was not handed over to its end, as a start was interrupted.
        let taken = match &self.place.read {
            Read::Part(of, taken) if *of == sequence => *taken,
            _ => 0,
        };
        let last = packed.len().saturating_sub(1);
        for (at, one) in packed.into_iter().enumerate().skip(taken as usize) {
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            let here = self.hash_keys.is_none_or(|(first, last)| (first..=last).contains(&one.place()));
            let what = match here {
                true => What::Message(message(one.data, one.key, time_ms, &format!("{sequence}/{number}"))),
                // The library that packed it took the shard for another one, and sends it again.
                false => What::Nothing,
            };
            let read = if at == last { whole.clone() } else { Read::Part(sequence.clone(), number.saturating_add(1)) };
            self.waiting.push_back(Waiting { read, what });
        }
        if self.waiting.is_empty() {
            self.waiting.push_back(Waiting { read: whole, what: What::Nothing });
        }
    }

    /// Hands over at most so many rows.
    fn hand_over(&mut self, rows_max: u32) -> ReadRows {
        let (mut messages, mut refused) = (Vec::new(), Vec::new());
        while messages.len() + refused.len() < rows_max as usize {
            let Some(next) = self.waiting.pop_front() else { break };
            self.place.read = next.read;
            match next.what {
                What::Message(message) => messages.push(message),
                What::Refused(bytes, reason) => refused.push((bytes, reason)),
                What::Nothing => {}
            }
        }
        if self.waiting.is_empty() {
            self.place.until_ms = self.until_ms;
        }
        self.noted_ms = Some(self.place.until_ms);
        let position = Some(self.place.written());
        ReadRows { content: ReadContent::Messages(messages), refused, position, pause: Some(Duration::ZERO) }
    }

    /// Nothing came; the position is put down now and then.
    fn nothing(&mut self) -> ReadRows {
        self.place.until_ms = self.until_ms;
        let noted = self.noted_ms.is_some_and(|noted| self.until_ms.saturating_sub(noted) < NOTED_EVERY_MS);
        if !noted {
            self.noted_ms = Some(self.until_ms);
        }
        let position = (!noted).then(|| self.place.written());
        ReadRows {
            content: ReadContent::Messages(Vec::new()),
            refused: Vec::new(),
            position,
            pause: Some(Duration::ZERO),
        }
    }
}

fn message(data: Bytes, key: String, time_ms: Option<i64>, id: &str) -> Message {
    let headers = vec![(ID.to_owned(), Some(Bytes::copy_from_slice(id.as_bytes())))];
    Message { value: Some(data), key: Some(key.into()), headers, time_ms, ..Message::default() }
}

impl ReadPartition for Kinesis {
    fn known(&mut self, partitions: &[(String, Vec<u8>)]) {
        self.shared.known().before = partitions.to_vec();
    }

    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble> {
        let (shared, asker) = (self.shared.clone(), &mut self.asker);
        let asked = shared.runtime.block_on(async {
            let facts = shards::facts(asker).await?;
            Ok::<_, Trouble>((facts, shards::list(asker).await?))
        });
        let (facts, there) = asked.map_err(|trouble| shared.told(trouble))?;
        let mut known = shared.known();
        if known.facts.as_ref().is_some_and(|before| before.made_s != facts.made_s) {
            return Err(shared.other_stream());
        }
        known.facts = Some(facts);
        known.shards.there = there;
        self.check(&mut known)?;
        Ok(known.shards.readable())
    }

    fn open(&mut self, shard: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble> {
        let known = self.shared.known();
        let (Some(facts), Some(from_ms)) = (&known.facts, known.from_ms) else {
            return Err(ReadTrouble::Passing("its shards are not known yet".into()));
        };
        let place = match position {
            Some(position) => {
                Place::parse(position).ok_or_else(|| self.shared.lasting("a position of it is none of Kinesis"))?
            }
            None => Place { made_s: facts.made_s, from_ms, until_ms: now_ms(), read: Read::Nothing },
        };
        let now = Instant::now();
        self.open = Some(Open {
            shard: shard.to_owned(),
            hash_keys: known.shards.there.get(shard).and_then(|shard| shard.hash_keys),
            iterator: None,
            at_end: place.read == Read::All,
            waiting: VecDeque::new(),
            until_ms: place.until_ms,
            noted_ms: position.map(|_| place.until_ms),
            place,
            is_new: position.is_none(),
            begun: now,
            next: now,
            every: EVERY_MIN,
            record_bytes: RECORD_BYTES,
        });
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn poll(&mut self, rows_max: u32, _: Duration) -> Result<ReadRows, ReadTrouble> {
        let Some(open) = &mut self.open else { return Err(ReadTrouble::Passing("it is not open".into())) };
        if open.waiting.is_empty() && open.at_end {
            // All that came before is in the inbox by now, so what comes of other shards stands behind it.
            self.shared.known().shards.ended.insert(open.shard.clone());
            open.place.read = Read::All;
            let position = Some(open.place.written());
            return Ok(ReadRows {
                content: ReadContent::Messages(Vec::new()),
                refused: Vec::new(),
                position,
                pause: None,
            });
        }
        if open.waiting.is_empty() {
            let asking = Kinesis::receive(&mut self.asker, &self.shared, open, rows_max);
            let came = self.shared.runtime.block_on(asking)?;
            open.every = if came { EVERY_MIN } else { (open.every * 2).min(EVERY_MAX) };
            open.next = (open.next - EVERY_MIN) + open.every;
            if !came {
                return Ok(open.nothing());
            }
        }
        Ok(open.hand_over(rows_max))
    }

    fn durable(&mut self, _: &[u8]) -> Result<(), ReadTrouble> {
        Ok(())
    }

    fn published(&mut self, _: &[u8]) -> Result<(), ReadTrouble> {
        Ok(())
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
