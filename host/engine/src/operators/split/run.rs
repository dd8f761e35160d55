//! Splits one stream into several by predicates.

use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::simple::with_rows;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Parts, each_part};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not, prep_null_mask_filter};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::part::Part;
use millstream_sql::expression::Expression;
use timely::dataflow::operators::vec::{Filter, Map};

/// Builds the stage. Branches travel with the stage's own rows, each with its number as the part's input.
pub fn build<'s>(
    stage: &StageNode,
    predicates: &[Expression],
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> StageStreams<'s> {
    let metrics = build.metrics.counts(&stage.name);
    let branches = predicates.len() as u32;
    let predicates = predicates.to_vec();
    let (rows, branches_of_rows) =
        each_part(parts, &stage.name, build.failure.clone(), move |context, part, output| {
            metrics.add_rows(part.rows.num_rows());
            let mut rest = part.rows.clone();
            for (branch, predicate) in (0u32..).zip(&predicates) {
                let taken = take(context, predicate, &mut rest)?;
                if taken.num_rows() > 0 {
                    output.rejected.push(Part { input: branch, ..with_rows(&part, taken) });
                }
            }
            if rest.num_rows() > 0 {
                output.rows.push(with_rows(&part, rest));
            }
            Ok(())
        });
    let branch = |number: u32| {
        let of_branch = branches_of_rows.clone().filter(move |part: &Part| part.input == number);
        of_branch.map(|part: Part| Part { input: 0, ..part })
    };
    let sides = (0..branches).map(branch).collect();
    let rejected = branches_of_rows.clone().filter(|_: &Part| false);
    StageStreams { sides, ..StageStreams::new(rows, rejected) }
}

/// Takes the rows for which the predicate holds out of `rest`. Null does not hold.
fn take(context: BatchContext, predicate: &Expression, rest: &mut RecordBatch) -> Result<RecordBatch> {
    let values = predicate.evaluate(context, rest)?;
    let holds = values.as_boolean_opt().ok_or_else(|| Error::bug("a predicate that is not boolean"))?;
    let holds: BooleanArray = if holds.null_count() > 0 { prep_null_mask_filter(holds) } else { holds.clone() };
    let taken = filter_record_batch(rest, &holds).map_err(Error::arrow)?;
    *rest = filter_record_batch(rest, &not(&holds).map_err(Error::arrow)?).map_err(Error::arrow)?;
    Ok(taken)
}
