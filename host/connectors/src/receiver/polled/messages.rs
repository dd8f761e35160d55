//! Messages of a server on their way into chunks: each is a record, with what came with it before it (`batch/envelope`).

use bytes::Bytes;
use millstream_base::batch::chunk::{Chunk, RefusedRecord};
use millstream_base::batch::envelope::{self, EnvelopeColumns, RecordMetadata, TOPIC};
use millstream_base::batch::reading::Message;
use millstream_base::job::spec::SourceSpec;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};

/// Messages, in chunks. Of one that is too long the beginning stays, with the reason.
pub fn chunks_of(source: &SourceSpec, messages: &[Message]) -> Vec<Chunk> {
    let wanted = EnvelopeColumns::by(source.schema.iter().map(|column| &column.from));
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), Chunk::default(), Vec::new());
    for message in messages {
        if chunk.ends.len() == PART_ROWS_MAX || bytes.len() >= PART_BYTES_MAX {
            chunks.push(Chunk { bytes: Bytes::from(std::mem::take(&mut bytes)), ..std::mem::take(&mut chunk) });
        }
        if let Some((reason, dropped)) = put(source, wanted, message, &mut bytes) {
            chunk.refused.push(RefusedRecord { row: chunk.ends.len() as u32, reason, dropped });
        }
        // A chunk is complete when it is full, so it holds one message more than that at most.
        chunk.ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    if !chunk.ends.is_empty() {
        chunks.push(Chunk { bytes: bytes.into(), ..chunk });
    }
    chunks
}

/// Writes a message; where it is too long why, and how many bytes are left out.
fn put(source: &SourceSpec, wanted: EnvelopeColumns, message: &Message, to: &mut Vec<u8>) -> Option<(String, u64)> {
    let value = message.value.as_deref().unwrap_or_default();
    let mut headers: Vec<(&str, Option<&[u8]>)> = Vec::new();
    if wanted.headers {
        headers.extend(message.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
    }
    headers.extend(message.topic.as_ref().filter(|_| wanted.topic).map(|topic| (TOPIC, Some(topic.as_bytes()))));
    let beside = RecordMetadata {
        offset: message.offset,
        time_ms: message.time_ms,
        key: message.key.as_deref().filter(|_| wanted.key),
        headers: &headers,
        null: message.value.is_none(),
    };
    let of_headers = headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum::<usize>();
    let whole = value.len() + beside.key.map_or(0, <[u8]>::len) + of_headers;
    let start = to.len();
    if whole as u64 <= source.record_bytes_max && envelope::put(to, &beside).is_some() {
        to.extend_from_slice(value);
        return None;
    }
    to.truncate(start);
    // Nothing of what is left out is needed to tell that it is.
    let _ = envelope::put(to, &RecordMetadata { key: None, headers: &[], ..beside });
    let most = usize::try_from(source.rejected_bytes_max).unwrap_or(usize::MAX);
    let kept = value.get(..most).unwrap_or(value);
    to.extend_from_slice(kept);
    let reason = format!("{whole} bytes, record_bytes_max is {}", source.record_bytes_max);
    Some((reason, (value.len() - kept.len()) as u64))
}
