//! Late rows that leave a stage.

use crate::operators::stage::StageNode;
use crate::timely_ext::Output;
use arrow::array::RecordBatch;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_metrics::Counts;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::mixed_late_rows;

/// Late rows, in the format of `<stage>.late`.
pub struct LateRows {
    /// Names of the inputs.
    inputs: Vec<String>,
    metrics: Counts,
}

impl LateRows {
    /// Creates the output for late rows of this stage.
    pub fn new(stage: &StageNode, metrics: &Counts) -> LateRows {
        LateRows { inputs: stage.inputs.iter().map(|input| input.name.clone()).collect(), metrics: metrics.clone() }
    }

    /// Emits late rows of a part, without their time column.
    pub fn push(&self, context: BatchContext, part: &Part, rows: RecordBatch, output: &mut Output) -> Result<()> {
        self.metrics.add_late(rows.num_rows());
        let rows = match self.inputs.as_slice() {
            [_] => rows,
            inputs => {
                let input = inputs.get(part.input as usize).map_or("", String::as_str);
                let late = vec![WHY_LATE.to_owned(); rows.num_rows()];
                mixed_late_rows(input, &rows, late).map_err(Error::arrow)?
            }
        };
        // Parts of several inputs may have the same order.
        output.late(context, part.order.clone().then(u64::from(part.input)), rows);
        Ok(())
    }
}

/// The reason stored with late rows, if there is a column for it.
const WHY_LATE: &str = "it came after its windows were closed";
