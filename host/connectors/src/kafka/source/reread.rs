//! Reading planned chunks of partitions again: the same records of the same offsets, or none at all.

use super::cluster::PositionLoss;
use super::outage::Outage;
use super::records::Records;
use super::{ReadOrder, bounds, consumer};
use crate::kafka::consumer::{Consumer, ConsumerEvent};
use crate::kafka::fault::KafkaFault;
use hashbrown::HashMap;
use millstream_base::error::{Error, Result};
use millstream_connect::receiver::registry::Schemas;
use millstream_job::spec::RereadClient;
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::topic;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::runtime::Builder;

const LISTEN: Duration = Duration::from_millis(100);

/// The planned chunks of a partition, in the order of their offsets.
struct PlannedChunks<'a> {
    /// The plan's chunks that are not complete yet, with their indexes.
    pending: VecDeque<(usize, &'a PlannedChunk)>,
    records: Records,
    /// The partition's oldest offset, for messages.
    low: u64,
}

/// Recreates the chunks of a planned batch that the plan does not hold. If records were deleted, the error names them and is of kind `Job`.
/// The client is kept from batch to batch, because connecting takes longer than reading.
pub fn reread(order: &ReadOrder<'_>, planned: &[PlannedChunk], kept_client: &mut RereadClient) -> Result<Vec<Chunk>> {
    let source = &order.source.name;
    let planned: Vec<&PlannedChunk> = planned.iter().filter(|planned| planned.kept.is_none()).collect();
    if planned.is_empty() {
        return Ok(Vec::new());
    }
    let to_error = |fault: KafkaFault| Error::environment(format!("source `{source}`: {fault}"));
    let kept = kept_client.0.take().and_then(|kept| kept.downcast::<Consumer>().ok());
    let client = match kept {
        Some(client) => *client,
        None => consumer(order.source, order.spec, order.dir, "-again").map_err(to_error)?,
    };
    let mut outage = Outage::new(order.source, order.spec);
    let mut wanted: HashMap<(String, i32), PlannedChunks<'_>> = HashMap::new();
    for (index, chunk) in planned.iter().copied().enumerate() {
        let (topic, number) = topic::parse(&chunk.extent.file)
            .ok_or_else(|| Error::bug(format!("source `{source}`: a plan names `{}`", chunk.extent.file)))?;
        let empty = || PlannedChunks { pending: VecDeque::new(), records: Records::new(order.source, 0), low: 0 };
        wanted.entry((topic.to_owned(), number)).or_insert_with(empty).pending.push_back((index, chunk));
    }
    for ((topic, number), partition) in &mut wanted {
        partition.pending.make_contiguous().sort_by_key(|(_, chunk)| chunk.extent.start);
        let first = partition.pending.front().map_or(0, |(_, chunk)| chunk.extent.start);
        let end =
            partition.pending.back().map_or(0, |(_, chunk)| chunk.extent.start.saturating_add(chunk.extent.bytes));
        let available = retry(order, &client, &mut outage, || bounds(&client, topic, *number))?;
        if end > available.high {
            return Err(
                PositionLoss::Shorter { of: (topic.clone(), *number), wanted: end, available }.into_error(source)
            );
        }
        partition.low = available.low;
        partition.records = Records::new(order.source, first);
        // Missing offsets may not have been records of the batch; its records are counted.
        client.assign(&[(topic, *number, first.max(available.low))]).map_err(to_error)?;
    }
    let mut found: Vec<Option<Chunk>> = planned.iter().map(|_| None).collect();
    while wanted.values().any(|partition| !partition.pending.is_empty()) {
        let handled = client.next(LISTEN, |event| match event {
            ConsumerEvent::Record(record) => {
                let of = (record.topic(), record.partition());
                // Delayed records of the previous batch are of another partition, or of an offset that is not needed.
                let Some(partition) = wanted.get_mut(&of) else { return Ok(()) };
                if record.offset() < partition.records.end() {
                    return Ok(());
                }
                finish(order, &of, partition, record.offset(), &mut found)?;
                if partition.pending.front().is_some_and(|(_, chunk)| record.offset() >= chunk.extent.start) {
                    partition.records.add(&record);
                    finish(order, &of, partition, record.offset().saturating_add(1), &mut found)?;
                }
                Ok(())
            }
            ConsumerEvent::End { topic, partition, offset } => {
                let of = (topic.to_owned(), partition);
                let Some(partition) = wanted.get_mut(&of) else { return Ok(()) };
                finish(order, &of, partition, offset, &mut found)
            }
            ConsumerEvent::Fault { of, fault } if !fault.is_transient() => {
                let of =
                    of.map(|(topic, number)| format!("partition {number} of topic `{topic}`: ")).unwrap_or_default();
                Err(Error::environment(format!("source `{source}`: {of}{fault}")))
            }
            _ => Ok(()),
        });
        match handled {
            Some(handled) => handled?,
            None => {
                if let Some(rejection) = client.client_log().rejection() {
                    return Err(to_error(rejection));
                }
                outage.check(&client, order.spec)?;
            }
        }
    }
    outage.recovered(&client);
    let read: Vec<_> = wanted.keys().map(|(topic, number)| (topic.as_str(), *number, 0)).collect();
    client.unassign(&read).map_err(to_error)?;
    kept_client.0 = Some(Box::new(client));
    let mut chunks: Vec<Chunk> = found.into_iter().flatten().collect();
    if let Some(mut schemas) = Schemas::new(order.source, order.dir) {
        // A schema never changes under its id, so the records become the rows that they were.
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::environment(format!("source `{source}`: {error}")))?;
        for chunk in &mut chunks {
            runtime.block_on(schemas.attach(chunk))?;
        }
    }
    Ok(chunks)
}

/// Completes the chunks that end at this offset: all earlier records have arrived.
fn finish(
    order: &ReadOrder<'_>,
    (topic, number): &(String, i32),
    partition: &mut PlannedChunks<'_>,
    offset: u64,
    found: &mut [Option<Chunk>],
) -> Result<()> {
    while let Some((index, planned)) =
        partition.pending.pop_front_if(|(_, chunk)| chunk.extent.start.saturating_add(chunk.extent.bytes) <= offset)
    {
        let extent = &planned.extent;
        let (rows, end) = (partition.records.rows(), extent.start.saturating_add(extent.bytes));
        if rows != planned.rows as usize {
            let low = partition.low;
            return Err(Error::job(format!(
                "source `{}`: a batch cannot be replayed: it contains {} records of partition {number} of topic \
                 `{topic}`, offsets {} to {end}, but {rows} of them exist; the oldest record has offset {low}. The \
                 others were deleted or compacted: keep records for longer (`retention.ms`, \
                 `min.compaction.lag.ms`), or resume from an earlier batch with `--resume-from`",
                order.source.name, planned.rows, extent.start
            )));
        }
        let (chunk, _) = partition.records.take(&extent.file);
        if let Some(slot) = found.get_mut(index) {
            *slot = chunk.map(|chunk| Chunk { extent: extent.clone(), ..chunk });
        }
        let next = partition.pending.front().map_or(end, |(_, next)| next.extent.start);
        partition.records = Records::new(order.source, next);
    }
    Ok(())
}

/// Retries a request until it succeeds, for as long as the job may wait.
fn retry<T>(
    order: &ReadOrder<'_>,
    client: &Consumer,
    outage: &mut Outage,
    mut request: impl FnMut() -> Result<T, KafkaFault>,
) -> Result<T> {
    loop {
        match request() {
            Ok(response) => {
                outage.recovered(client);
                return Ok(response);
            }
            Err(fault) => {
                // The client's events contain the reasons.
                while client.next(Duration::ZERO, |_| ()).is_some() {}
                let fault = client.client_log().rejection().unwrap_or(fault);
                if !fault.is_transient() {
                    return Err(Error::environment(format!("source `{}`: {fault}", order.source.name)));
                }
                outage.failed(&fault, order.spec)?;
                std::thread::sleep(LISTEN);
            }
        }
    }
}
