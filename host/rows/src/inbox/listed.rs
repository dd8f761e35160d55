//! Partitions that the job file lists, so that they are known before anything is received.

use super::request::TakenChunks;
use super::{END_BYTES, Inbox, InboxContents, QueuedItem};
use crate::batch::chunk::Chunk;
use crate::batch::partition::clock_name;
use crate::batch::position::Position;

impl Inbox {
    /// Receiver: reports these partitions, each with its own clock; called in the process that reports clocks (`Share::reports_clocks`). It comes
    /// before all that waits, with the first batch that is cut.
    pub fn report_listed_partitions<'a>(&self, names: impl Iterator<Item = &'a str>) {
        self.add_now(|contents| names.for_each(|name| contents.push_first(clock_name(name), Position::default())));
    }

    /// Receiver: rows of several partitions arrive interleaved. A batch groups those of each partition, as a chunk for every few of them would cost
    /// more than its rows.
    pub fn group_by_partition(&self) {
        self.lock().group_by_partition = true;
    }
}

impl InboxContents {
    fn push_first(&mut self, name: String, position: Position) {
        self.file_ends += 1;
        self.bytes += END_BYTES + name.len() as u64;
        self.waiting.push_front(QueuedItem::FileEnd { file: name, end: position });
    }
}

/// Returns the chunks of a batch grouped by partition, each in order of arrival.
pub(super) fn gathered(mut chunks: Vec<Chunk>, rows_of_part: u64) -> Vec<Chunk> {
    chunks.sort_by(|a, b| a.extent.file.cmp(&b.extent.file));
    let mut together = TakenChunks::new(rows_of_part);
    chunks.into_iter().for_each(|chunk| together.join(chunk));
    together.into_chunks()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::TakeLimits;
    use bytes::Bytes;
    use millstream_base::ids::BatchId;

    fn row(partition: &str, number: u64) -> Chunk {
        let bytes = Bytes::from(format!("{partition}{number}\n"));
        let mut chunk = Chunk { ends: vec![bytes.len() as u32], bytes, ..Chunk::default() };
        (chunk.extent.file, chunk.extent.row) = (partition.into(), number);
        chunk
    }

    #[tokio::test]
    async fn rows_of_a_partition_stand_together_and_all_partitions_are_told_with_the_first_batch() {
        let inbox = Inbox::new(1 << 20, Box::new(|| {}));
        inbox.group_by_partition();
        inbox.put_back(vec![row("b", 0)], Vec::new());
        inbox.report_listed_partitions(["a", "b"].into_iter());
        for number in 1..4 {
            assert!(inbox.put(row("b", number)).await && inbox.put(row("a", number)).await);
        }
        let first = inbox.take(BatchId(1), TakeLimits::new(1, u64::MAX));
        let names = |moved: &[(String, Position)]| moved.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&first.moved), ["b", "clock:a", "clock:b"]);
        let rest = inbox.take(BatchId(2), TakeLimits::new(u64::MAX, u64::MAX));
        let text = |chunk: &Chunk| String::from_utf8(chunk.bytes.to_vec()).unwrap();
        assert_eq!(rest.chunks.iter().map(text).collect::<Vec<_>>(), ["a1\na2\na3\n", "b1\nb2\nb3\n"]);
        assert_eq!(
            rest.moved,
            [("a".into(), Position { offset: 4, mark: 0 }), ("b".into(), Position { offset: 4, mark: 0 })]
        );
    }
}
