//! Converts the messages of a server into chunks: each is a record with its metadata before it (`batch/envelope`).

use bytes::Bytes;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::chunk::{Chunk, RejectedRecord};
use millstream_rows::batch::envelope::{self, EnvelopeColumns, RecordMetadata, TOPIC};
use millstream_rows::batch::reading::Message;

/// Packs messages into chunks. Only the beginning of a message that is too long is kept, with the reason.
pub fn chunks_of(source: &SourceSpec, messages: &[Message]) -> Vec<Chunk> {
    let wanted = EnvelopeColumns::for_columns(source.schema.iter().map(|column| &column.from));
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), Chunk::default(), Vec::new());
    for message in messages {
        if chunk.ends.len() == PART_ROWS_MAX || bytes.len() >= PART_BYTES_MAX {
            chunks.push(Chunk { bytes: Bytes::from(std::mem::take(&mut bytes)), ..std::mem::take(&mut chunk) });
        }
        if let Some((reason, dropped)) = put(source, wanted, message, &mut bytes) {
            chunk.rejected.push(RejectedRecord { row: chunk.ends.len() as u32, reason, dropped });
        }
        // A chunk is closed when it is full, so it exceeds the limit by at most one message.
        chunk.ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    if !chunk.ends.is_empty() {
        chunks.push(Chunk { bytes: bytes.into(), ..chunk });
    }
    chunks
}

/// Writes a message. If it is too long, returns the reason and how many bytes were dropped.
fn put(source: &SourceSpec, wanted: EnvelopeColumns, message: &Message, to: &mut Vec<u8>) -> Option<(String, u64)> {
    let value = message.value.as_deref().unwrap_or_default();
    let mut headers: Vec<(&str, Option<&[u8]>)> = Vec::new();
    if wanted.headers {
        headers.extend(message.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
    }
    headers.extend(message.topic.as_ref().filter(|_| wanted.topic).map(|topic| (TOPIC, Some(topic.as_bytes()))));
    let metadata = RecordMetadata {
        offset: message.offset,
        time_ms: message.time_ms,
        key: message.key.as_deref().filter(|_| wanted.key),
        headers: &headers,
        null: message.value.is_none(),
    };
    let header_bytes = headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum::<usize>();
    let size = value.len() + metadata.key.map_or(0, <[u8]>::len) + header_bytes;
    let start = to.len();
    if size as u64 <= source.record_bytes_max && envelope::put(to, &metadata).is_some() {
        to.extend_from_slice(value);
        return None;
    }
    to.truncate(start);
    // Reporting the rejection needs none of what is left out.
    let _ = envelope::put(to, &RecordMetadata { key: None, headers: &[], ..metadata });
    let bytes_max = usize::try_from(source.rejected_bytes_max).unwrap_or(usize::MAX);
    let kept = value.get(..bytes_max).unwrap_or(value);
    to.extend_from_slice(kept);
    let reason = format!("{size} bytes, record_bytes_max is {}", source.record_bytes_max);
    Some((reason, (value.len() - kept.len()) as u64))
}
