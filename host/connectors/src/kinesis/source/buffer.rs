//! Buffers the received records of a shard individually until they are handed over.

use super::position::{LastRead, is_sequence};
use super::receive::Record;
use super::{OpenShard, PendingRecord, RecordContent, aggregated};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream_rows::batch::envelope::ID;
use millstream_rows::batch::reading::{Message, ReadContent, ReadRows};
use std::time::Duration;

/// How often a position is recorded that only advanced in time.
const RECORD_INTERVAL_MS: i64 = 10 * 60 * 1000;

impl OpenShard {
    /// Buffers received records individually.
    pub(super) fn take(&mut self, records: Vec<Record>) -> Result<(), String> {
        let (mut bytes, count) = (0_u64, records.len() as u64);
        for record in records {
            if !is_sequence(&record.sequence_number) {
                return Err("the server is not Kinesis: a record has no number; check the endpoint".into());
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
        let end = LastRead::Complete(sequence.clone());
        let data = match STANDARD.decode(&record.data) {
            Ok(data) => Bytes::from(data),
            Err(error) => {
                let what = RecordContent::Invalid(record.data.into_bytes(), format!("it is not base64: {error}"));
                return self.waiting.push_back(PendingRecord { read: end, what });
            }
        };
        let Some(aggregated) = aggregated::deaggregate(&data) else {
            let what = RecordContent::Message(message(data, record.partition_key, time_ms, &sequence));
            return self.waiting.push_back(PendingRecord { read: end, what });
        };
        // The record was handed over only in part when a run was interrupted.
        let taken = match &self.position.read {
            LastRead::Part(of, taken) if *of == sequence => *taken,
            _ => 0,
        };
        let last = aggregated.len().saturating_sub(1);
        for (at, one) in aggregated.into_iter().enumerate().skip(taken as usize) {
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            let here = self.hash_keys.is_none_or(|(first, last)| (first..=last).contains(&one.hash_key()));
            let what = match here {
                true => RecordContent::Message(message(one.data, one.key, time_ms, &format!("{sequence}/{number}"))),
                // The library that aggregated it assumed another shard, and sends it again.
                false => RecordContent::Nothing,
            };
            let read =
                if at == last { end.clone() } else { LastRead::Part(sequence.clone(), number.saturating_add(1)) };
            self.waiting.push_back(PendingRecord { read, what });
        }
        if self.waiting.is_empty() {
            self.waiting.push_back(PendingRecord { read: end, what: RecordContent::Nothing });
        }
    }

    /// Hands over at most this many rows.
    pub(super) fn hand_over(&mut self, rows_max: u32) -> ReadRows {
        let (mut messages, mut rejected) = (Vec::new(), Vec::new());
        while messages.len() + rejected.len() < rows_max as usize {
            let Some(next) = self.waiting.pop_front() else { break };
            self.position.read = next.read;
            match next.what {
                RecordContent::Message(message) => messages.push(message),
                RecordContent::Invalid(bytes, reason) => rejected.push((bytes, reason)),
                RecordContent::Nothing => {}
            }
        }
        if self.waiting.is_empty() {
            self.position.until_ms = self.until_ms;
        }
        self.recorded_ms = Some(self.position.until_ms);
        let position = Some(self.position.encode());
        ReadRows { content: ReadContent::Messages(messages), rejected, position, pause: Some(Duration::ZERO) }
    }

    /// Handles an empty response; the position is recorded periodically.
    pub(super) fn on_empty_response(&mut self) -> ReadRows {
        self.position.until_ms = self.until_ms;
        let recorded =
            self.recorded_ms.is_some_and(|recorded| self.until_ms.saturating_sub(recorded) < RECORD_INTERVAL_MS);
        if !recorded {
            self.recorded_ms = Some(self.until_ms);
        }
        let position = (!recorded).then(|| self.position.encode());
        ReadRows {
            content: ReadContent::Messages(Vec::new()),
            rejected: Vec::new(),
            position,
            pause: Some(Duration::ZERO),
        }
    }
}

fn message(data: Bytes, key: String, time_ms: Option<i64>, id: &str) -> Message {
    let headers = vec![(ID.to_owned(), Some(Bytes::copy_from_slice(id.as_bytes())))];
    Message { value: Some(data), key: Some(key.into()), headers, time_ms, ..Message::default() }
}
