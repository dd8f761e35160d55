//! The steps of one thread for a portion: it decodes it, and calls plugins and a query, like the operators of a job.

use super::graph::{PipeGraph, PipeStage};
use super::options::Options;
use super::rejections::PortionRefusals;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PLUGIN_CALL_MAX;
use millstream_base::memory;
use millstream_plugins::plugin::{Caller, Processed};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::rejected::{RejectedRows, merge_rejections, without_nulls};
use millstream_rows::batch::slices::RowBytes;
use millstream_rows::decode::Decoder;
use millstream_sql::query::Prepared;

/// The steps of a pipe, for one thread.
pub struct Steps {
    decoder: Decoder,
    steps: Vec<Step>,
    rejects: bool,
}

enum Step {
    Plugin(Box<PluginStep>),
    Query(Prepared),
}

/// A plugin of world `transform`.
struct PluginStep {
    stage: String,
    caller: Caller,
    /// The indices of the columns that it reads, and their schema for the plugin.
    reads: Vec<usize>,
    needs: SchemaRef,
    rejected: RejectedRows,
}

/// The result of the steps for a portion.
#[derive(Default)]
pub struct StepsResult {
    /// The rows.
    pub rows: Vec<RecordBatch>,
    /// Rows that were rejected by the steps, if rejected rows are skipped.
    pub rejection_list: Vec<PortionRefusals>,
    /// The error that ends the pipe after these rows.
    pub failed: Option<Error>,
}

impl Steps {
    /// Creates the steps of this pipe.
    pub fn new(graph: &PipeGraph, options: &Options) -> Result<Steps> {
        let step = |stage: PipeStage<'_>| match stage {
            PipeStage::Query(query) => Step::Query(query),
            PipeStage::Plugin(stage, node) => Step::Plugin(Box::new(PluginStep {
                stage: stage.name.clone(),
                caller: node.plugin.caller(node.stage.clone(), &node.description),
                reads: node.reads.clone(),
                needs: node.description.input.clone(),
                rejected: stage.rejected.clone(),
            })),
        };
        let steps = graph.stages()?.into_iter().map(step).collect();
        Ok(Steps { decoder: Decoder::new(graph.source()?.decoder_spec()), steps, rejects: options.rejects })
    }

    /// Processes records, of which the first starts on this line.
    pub fn chunk(&mut self, context: BatchContext, chunk: Chunk, line: u64) -> Result<StepsResult> {
        let decoded = self.decoder.decode(&chunk);
        let Some(rejected) = decoded.rejected else { return self.rows(context, decoded.rows) };
        let rejection_list = PortionRefusals { stage: None, rows: rejected, reason_at: 1 };
        if self.rejects {
            let mut worked = self.rows(context, decoded.rows)?;
            worked.rejection_list.insert(0, rejection_list);
            return Ok(worked);
        }
        let (before, line) = self.rows_before_first_rejected(chunk, line);
        let mut worked = self.rows(context, before)?;
        worked.failed = Some(rejection_list.error(Some(line)));
        Ok(worked)
    }

    /// Returns the rows of a chunk before the first invalid record, and the line of that.
    fn rows_before_first_rejected(&mut self, mut chunk: Chunk, line: u64) -> (RecordBatch, u64) {
        let (mut rest, mut count, mut line) = (chunk.clone(), 0, line);
        while rest.rows() > 0 {
            let record = rest.cut_front(1);
            if self.decoder.decode(&record).rejected.is_some() {
                break;
            }
            (count, line) = (count + 1, line + super::input::lines(&record.bytes));
        }
        let before = if count == 0 { Chunk::default() } else { chunk.cut_front(count) };
        (self.decoder.decode(&before).rows, line)
    }

    /// Processes rows.
    pub fn rows(&mut self, context: BatchContext, rows: RecordBatch) -> Result<StepsResult> {
        memory::check()?;
        let mut worked = StepsResult { rows: vec![rows], ..StepsResult::default() };
        for step in &mut self.steps {
            for rows in std::mem::take(&mut worked.rows).into_iter().filter(|rows| rows.num_rows() > 0) {
                match step {
                    Step::Query(query) => worked.rows.extend(query.run(context, vec![rows])?),
                    Step::Plugin(plugin) => plugin.work(context, &rows, &mut worked)?,
                }
            }
        }
        worked.rows.retain(|rows| rows.num_rows() > 0);
        if !self.rejects
            && let Some(rejection_list) = worked.rejection_list.first()
        {
            return Err(rejection_list.error(None));
        }
        Ok(worked)
    }
}

impl PluginStep {
    fn work(&mut self, context: BatchContext, part: &RecordBatch, worked: &mut StepsResult) -> Result<()> {
        // A previous plugin may have emitted many rows for few.
        for slice in RowBytes::measure([part]).slices(part.num_rows(), PLUGIN_CALL_MAX) {
            let rows = part.slice(slice.start, slice.len());
            let (complete, nulls) = without_nulls(rows.clone(), &self.reads, &self.needs).map_err(Error::arrow)?;
            let read = complete.project(&self.reads).map_err(Error::arrow)?;
            let called = self.caller.process(context.call(), &read);
            let Processed { rows: made, rejections } = called?;
            worked.rows.push(made);
            let rejection_list = merge_rejections(nulls, rejections);
            if !rejection_list.is_empty() {
                let reason_at = self.rejected.reason_at();
                let rows = self.rejected.rows(context.id, "", &rows, &rejection_list)?;
                worked.rejection_list.push(PortionRefusals { stage: Some(self.stage.clone()), rows, reason_at });
            }
        }
        Ok(())
    }
}
