//! What comes of the partitions of a source, on its way into the inbox.

use super::cluster::{self, Lost};
use super::{InboxClosed, Partition, SourceReader, Step, behind};
use crate::kafka::consumer::{ConsumerEvent, Record};
use hashbrown::HashMap;
use millstream_base::batch::position::Position;
use millstream_base::error::Result;
use millstream_base::inbox::PartitionRead;
use std::time::Duration;

impl SourceReader<'_> {
    /// Handles one event; `false` if there was none.
    pub(super) fn hear(&mut self, time_max: Duration) -> Result<bool> {
        let SourceReader { consumer, partitions, places, places_by_id, at_end, gathered, order, inbox, .. } = self;
        let source = &order.source.name;
        let heard = consumer.next(time_max, |heard| match heard {
            ConsumerEvent::Record(record) => {
                let place = place_of(&record, places, places_by_id);
                let Some(partition) = place.and_then(|place| partitions.get_mut(place)) else { return Ok(None) };
                if partition.at_end {
                    partition.at_end = false;
                    *at_end = at_end.saturating_sub(1);
                }
                let before = partition.records.bytes();
                if !partition.records.add(&record) {
                    return Err(Lost::Backwards {
                        of: (partition.topic.clone(), partition.number),
                        wanted: partition.records.end(),
                        there: record.offset(),
                    }
                    .told(source));
                }
                *gathered += partition.records.bytes().saturating_sub(before);
                Ok(place.filter(|_| partition.records.is_full()))
            }
            ConsumerEvent::End { topic, partition, offset } => {
                let place = places.get(&(topic.to_owned(), partition));
                if let Some(partition) = place.and_then(|place| partitions.get_mut(*place)) {
                    *at_end += usize::from(!partition.at_end);
                    partition.at_end = true;
                    partition.records.nothing_before(offset);
                }
                Ok(None)
            }
            ConsumerEvent::Fault { of, fault } => match of {
                Some((topic, number)) => {
                    let at = places.get(&(topic.to_owned(), number)).and_then(|place| partitions.get(*place));
                    let wanted = at.map_or(0, |partition| partition.records.end());
                    cluster::of_partition(consumer, (topic, number), wanted, fault, source).map(|()| None)
                }
                None => Ok(None),
            },
            ConsumerEvent::Statistics(told) => {
                if let Some(ends) = behind::ends(told) {
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
        match heard.transpose()? {
            None => Ok(false),
            Some(full) => {
                if let Some(place) = full {
                    let _ = self.pass_on_one(place);
                }
                Ok(true)
            }
        }
    }

    /// Moves the gathered records to the inbox.
    pub(super) fn pass_on(&mut self) -> Step {
        for place in 0..self.partitions.len() {
            if let Err(closed) = self.pass_on_one(place) {
                return Ok(Err(closed));
            }
        }
        self.gathered = 0;
        Ok(Ok(()))
    }

    fn pass_on_one(&mut self, place: usize) -> Result<(), InboxClosed> {
        let Some(partition) = self.partitions.get_mut(place) else { return Ok(()) };
        let (chunk, moved) = partition.records.take(&partition.name);
        if let Some(mut chunk) = chunk {
            if let Some(schemas) = &mut self.schemas
                && let Err(error) = self.runtime.block_on(schemas.attach(&mut chunk))
            {
                self.inbox.fail(error);
                return Err(InboxClosed);
            }
            self.gathered = self.gathered.saturating_sub(chunk.bytes.len());
            self.outage.back(&self.consumer);
            if !self.runtime.block_on(self.inbox.put(chunk)) {
                return Err(InboxClosed);
            }
        } else if let Some(offset) = moved {
            let name = partition.name.clone();
            return self.move_to(name, Position { offset, mark: 0 });
        }
        Ok(())
    }

    /// A position goes with the next records.
    pub(super) fn move_to(&self, name: String, position: Position) -> Result<(), InboxClosed> {
        let open = self.runtime.block_on(self.inbox.put_last(None, name, position));
        if open { Ok(()) } else { Err(InboxClosed) }
    }
}

/// The index of a record's partition; the client's topics are looked up by name once.
fn place_of(
    record: &Record<'_>,
    places: &HashMap<(String, i32), usize>,
    by_id: &mut HashMap<(usize, i32), usize>,
) -> Option<usize> {
    let key = (record.topic_id(), record.partition());
    if let Some(place) = by_id.get(&key) {
        return Some(*place);
    }
    let place = *places.get(&(record.topic(), record.partition()))?;
    by_id.insert(key, place);
    Some(place)
}
