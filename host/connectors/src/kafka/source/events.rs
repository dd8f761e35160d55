//! Events of the client: records of partitions are gathered and moved to the inbox.

use super::cluster::{self, PositionLoss};
use super::{InboxClosed, Partition, SourceReader, Step, statistics};
use crate::kafka::consumer::{ConsumerEvent, Record};
use hashbrown::HashMap;
use millstream_base::error::Result;
use millstream_rows::batch::position::Position;
use millstream_rows::inbox::PartitionRead;
use std::time::Duration;

impl SourceReader<'_> {
    /// Handles one event; `false` if there was none.
    pub(super) fn handle_event(&mut self, time_max: Duration) -> Result<bool> {
        let SourceReader { consumer, partitions, indexes, indexes_by_id, at_end, gathered, order, inbox, .. } = self;
        let source = &order.source.name;
        let handled = consumer.next(time_max, |event| match event {
            ConsumerEvent::Record(record) => {
                let index = index_of(&record, indexes, indexes_by_id);
                let Some(partition) = index.and_then(|index| partitions.get_mut(index)) else { return Ok(None) };
                if partition.at_end {
                    partition.at_end = false;
                    *at_end = at_end.saturating_sub(1);
                }
                let before = partition.records.bytes();
                if !partition.records.add(&record) {
                    return Err(PositionLoss::Backwards {
                        of: (partition.topic.clone(), partition.number),
                        wanted: partition.records.end(),
                        available: record.offset(),
                    }
                    .into_error(source));
                }
                *gathered += partition.records.bytes().saturating_sub(before);
                Ok(index.filter(|_| partition.records.is_full()))
            }
            ConsumerEvent::End { topic, partition, offset } => {
                let index = indexes.get(&(topic.to_owned(), partition));
                if let Some(partition) = index.and_then(|index| partitions.get_mut(*index)) {
                    *at_end += usize::from(!partition.at_end);
                    partition.at_end = true;
                    partition.records.skip_to(offset);
                }
                Ok(None)
            }
            ConsumerEvent::Fault { of, fault } => match of {
                Some((topic, number)) => {
                    let at = indexes.get(&(topic.to_owned(), number)).and_then(|index| partitions.get(*index));
                    let wanted = at.map_or(0, |partition| partition.records.end());
                    cluster::partition_fault(consumer, (topic, number), wanted, fault, source).map(|()| None)
                }
                None => Ok(None),
            },
            ConsumerEvent::Statistics(statistics) => {
                if let Some(ends) = statistics::end_offsets(statistics) {
                    let read = partitions.iter().map(|partition| {
                        let Partition { name, topic, number, records, .. } = partition;
                        let (end, gathered) = (ends.get(&(topic.clone(), *number)), records.rows() as u64);
                        let missing = end.map(|end| end.saturating_sub(records.end()).saturating_add(gathered));
                        let next = Some(records.next());
                        PartitionRead { name: name.clone(), next, missing, ..PartitionRead::default() }
                    });
                    inbox.report_partitions_read(read.collect());
                }
                Ok(None)
            }
            ConsumerEvent::Other => Ok(None),
        });
        match handled.transpose()? {
            None => Ok(false),
            Some(full) => {
                if let Some(index) = full {
                    let _ = self.flush_partition(index);
                }
                Ok(true)
            }
        }
    }

    /// Moves the gathered records to the inbox.
    pub(super) fn flush(&mut self) -> Step {
        for index in 0..self.partitions.len() {
            if let Err(closed) = self.flush_partition(index) {
                return Ok(Err(closed));
            }
        }
        self.gathered = 0;
        Ok(Ok(()))
    }

    fn flush_partition(&mut self, index: usize) -> Result<(), InboxClosed> {
        let Some(partition) = self.partitions.get_mut(index) else { return Ok(()) };
        let (chunk, moved) = partition.records.take(&partition.name);
        if let Some(mut chunk) = chunk {
            if let Some(schemas) = &mut self.schemas
                && let Err(error) = self.runtime.block_on(schemas.attach(&mut chunk))
            {
                self.inbox.fail(error);
                return Err(InboxClosed);
            }
            self.gathered = self.gathered.saturating_sub(chunk.bytes.len());
            self.outage.recovered(&self.consumer);
            if !self.runtime.block_on(self.inbox.put(chunk)) {
                return Err(InboxClosed);
            }
        } else if let Some(offset) = moved {
            let name = partition.name.clone();
            return self.move_to(name, Position { offset, mark: 0 });
        }
        Ok(())
    }

    /// Stores a position without records.
    pub(super) fn move_to(&self, name: String, position: Position) -> Result<(), InboxClosed> {
        let open = self.runtime.block_on(self.inbox.put_last(None, name, position));
        if open { Ok(()) } else { Err(InboxClosed) }
    }
}

/// Returns the index of a record's partition. The client's topics are looked up by name once.
fn index_of(
    record: &Record<'_>,
    indexes: &HashMap<(String, i32), usize>,
    by_id: &mut HashMap<(usize, i32), usize>,
) -> Option<usize> {
    let key = (record.topic_id(), record.partition());
    if let Some(index) = by_id.get(&key) {
        return Some(*index);
    }
    let index = *indexes.get(&(record.topic(), record.partition()))?;
    by_id.insert(key, index);
    Some(index)
}
