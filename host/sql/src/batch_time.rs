//! `now()` and similar functions return the batch time, so that a replayed batch gets the same value.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use millstream_base::context::BatchContext;
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    /// The batch for which this thread evaluates SQL. Plans run on the requesting thread, so their functions can read it without a plan per batch.
    static BATCH: Cell<Option<BatchContext>> = const { Cell::new(None) };
}

/// Runs `work`, which evaluates SQL for a batch.
pub fn in_batch<T>(context: BatchContext, work: impl FnOnce() -> T) -> T {
    let before = BATCH.replace(Some(context));
    let done = work();
    BATCH.set(before);
    done
}

/// Returns the current batch; fails during planning.
pub fn current() -> Result<BatchContext> {
    BATCH.get().ok_or_else(|| DataFusionError::Plan("no batch has started yet".into()))
}

/// Returns the functions, which replace DataFusion's own.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let of = |name, alias, kind| {
        // Volatile, otherwise the planner would substitute the time of planning.
        let signature = Signature::nullary(Volatility::Volatile);
        let aliases: Vec<String> = Option::into_iter(alias).map(str::to_owned).collect();
        Arc::new(ScalarUDF::new_from_impl(BatchTimeFunction { name, aliases, kind, signature }))
    };
    vec![
        of("now", Some("current_timestamp"), moment),
        of("current_date", Some("today"), DataType::Date32),
        of("current_time", None, DataType::Time64(TimeUnit::Microsecond)),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct BatchTimeFunction {
    name: &'static str,
    aliases: Vec<String>,
    kind: DataType,
    signature: Signature,
}

const DAY_US: i64 = 24 * 3600 * 1_000_000;

impl ScalarUDFImpl for BatchTimeFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let time = current()?.time.0;
        Ok(ColumnarValue::Scalar(match &self.kind {
            DataType::Date32 => ScalarValue::Date32(i32::try_from(time.div_euclid(DAY_US)).ok()),
            DataType::Time64(_) => ScalarValue::Time64Microsecond(Some(time.rem_euclid(DAY_US))),
            _ => ScalarValue::TimestampMicrosecond(Some(time), Some("UTC".into())),
        }))
    }
}
