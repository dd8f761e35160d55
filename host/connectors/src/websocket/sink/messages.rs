//! Formats a batch as messages: like the lines of a `queue` sink, several for a large batch.

use crate::limits::WEBSOCKET_MESSAGE_BYTES;
use arrow::array::RecordBatch;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_rows::batch::cell;
use millstream_rows::batch::json::JsonRows;
use std::io;

/// Passes each message of a batch to `send`. A batch without rows has no message.
pub fn each(
    batch: BatchId,
    time: BatchTime,
    parts: &[RecordBatch],
    rows_max: usize,
    mut send: impl FnMut(String),
) -> io::Result<()> {
    let mut head = format!("{{\"batch\":{batch},\"time\":\"");
    cell::write_rfc3339(&mut head, time.0);
    head.push_str("\",\"rows\":[");
    let (mut message, mut rows) = (head.clone().into_bytes(), 0);
    let mut end = |message: &mut Vec<u8>| {
        message.extend_from_slice(b"]}");
        let complete = std::mem::replace(message, head.clone().into_bytes());
        String::from_utf8(complete).map(&mut send).map_err(io::Error::other)
    };
    for part in parts {
        let mut objects = JsonRows::new(part)?;
        for row in 0..part.num_rows() {
            if rows > 0 && (rows >= rows_max || message.len() >= WEBSOCKET_MESSAGE_BYTES) {
                end(&mut message)?;
                rows = 0;
            }
            if rows > 0 {
                message.push(b',');
            }
            objects.write(row, &mut message)?;
            rows += 1;
        }
    }
    if rows > 0 { end(&mut message) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    #[test]
    fn a_batch_is_one_message_or_several() {
        let part = |numbers: &[i64]| {
            let column: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
            RecordBatch::try_from_iter([("a", column)]).unwrap()
        };
        let parts = [part(&[1, 2]), part(&[]), part(&[3])];
        let messages_of = |parts: &[RecordBatch], rows_max| {
            let mut messages = Vec::new();
            each(BatchId(7), BatchTime(0), parts, rows_max, |message| messages.push(message)).unwrap();
            messages
        };
        let head = "{\"batch\":7,\"time\":\"1970-01-01T00:00:00.000000Z\",\"rows\":[";
        assert_eq!(messages_of(&parts, 9), [format!("{head}{{\"a\":1}},{{\"a\":2}},{{\"a\":3}}]}}")]);
        assert_eq!(
            messages_of(&parts, 2),
            [format!("{head}{{\"a\":1}},{{\"a\":2}}]}}"), format!("{head}{{\"a\":3}}]}}")]
        );
        assert_eq!(messages_of(&parts[1..2], 2), [""; 0]);
    }
}
