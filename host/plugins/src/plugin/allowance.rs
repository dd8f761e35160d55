//! How much one call may return: an absolute limit, and a multiple of its input.

use super::arrow_types::shared_bytes;
use super::lower::Lowered;
use crate::limits::{PLUGIN_EXPANSION_BYTES_FREE, PLUGIN_EXPANSION_ROWS_FREE};
use arrow::array::{ArrayRef, RecordBatch};
use millstream_base::limits::PLUGIN_CALL_ROWS_MAX;
use millstream_base::units;
use millstream_job::spec::PluginLimits;

/// Size of a call's input, for all its batches together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputSize {
    /// Rows.
    pub rows: u64,
    /// Bytes of their columns.
    pub bytes: u64,
    /// Rows of the longest batch.
    pub longest: u64,
}

impl InputSize {
    /// Computes the size of these batches.
    pub fn measure<'a>(batches: impl IntoIterator<Item = &'a Lowered>) -> InputSize {
        batches.into_iter().fold(InputSize::default(), |sum, batch| InputSize {
            rows: sum.rows.saturating_add(u64::from(batch.rows())),
            bytes: sum.bytes.saturating_add(batch.bytes()),
            longest: sum.longest.max(batch.rows().into()),
        })
    }

    /// Multiplier for the time or fuel of the call: 1, unless a single key exceeds the usual size of calls. It depends on the rows of that key
    /// only, so it is the same for any number of workers.
    pub fn times(&self) -> u64 {
        self.longest.div_ceil(PLUGIN_CALL_ROWS_MAX as u64).max(1)
    }
}

/// How much a call may return.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Bytes.
    pub bytes_max: u64,
    /// Rows.
    pub rows_max: u64,
    input: u64,
    limits: PluginLimits,
}

impl Allowance {
    /// Computes the limit for a call with this input. Rows may have no bytes, and all bytes may be in one row: the larger bound applies.
    pub fn new(limits: PluginLimits, given: InputSize) -> Allowance {
        let input = given.rows.max(given.bytes);
        let expanded = input.saturating_mul(limits.expansion_max);
        Allowance {
            bytes_max: limits.output_bytes_max.min(expanded.max(PLUGIN_EXPANSION_BYTES_FREE)),
            rows_max: limits.output_rows_max.min(expanded.max(PLUGIN_EXPANSION_ROWS_FREE)),
            input,
            limits,
        }
    }

    /// Fails if a call returns more rows; the error has a message and what to do.
    pub fn check_rows(&self, rows: u32) -> Result<(), (String, &'static str)> {
        let allowed = self.rows_max;
        if u64::from(rows) <= allowed {
            return Ok(());
        }
        if allowed == self.limits.output_rows_max {
            let advice = "Raise `limits.rows` of the stage, or make batches smaller.";
            return Err((format!("it returned {rows} rows, more than its limit of {allowed}"), advice));
        }
        Err((format!("it returned {rows} rows, more than {}", self.by_expansion(&allowed.to_string())), EXPANSION))
    }

    /// Fails if rows that share values would exceed the limit with separate values; the error has a message and what to do.
    pub fn check_shared(&self, rows: &RecordBatch) -> Result<(), (String, &'static str)> {
        let sum = |sum: u64, column: &ArrayRef| sum.saturating_add(shared_bytes(column));
        match rows.columns().iter().fold(0, sum) > self.bytes_max {
            true => Err(self.too_many_bytes()),
            false => Ok(()),
        }
    }

    /// Returns the message for a call that returned more bytes, and what to do.
    pub fn too_many_bytes(&self) -> (String, &'static str) {
        if self.bytes_max == self.limits.output_bytes_max {
            let advice = "Raise `limits.output` of the stage, or make batches smaller.";
            return (
                format!("it returned more than its output limit of {}", units::format_bytes(self.bytes_max)),
                advice,
            );
        }
        (format!("it returned more than {}", self.by_expansion(&units::format_bytes(self.bytes_max))), EXPANSION)
    }

    fn by_expansion(&self, allowed: &str) -> String {
        let (input, times) = (self.input, self.limits.expansion_max);
        format!("the {allowed} that its input of {input} rows or bytes allows ({times} times the input, or a minimum)")
    }
}

const EXPANSION: &str = "Raise `limits.expansion` of the stage, or fix the plugin if it should return less.";

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(rows: u64, bytes: u64) -> Allowance {
        let limits = PluginLimits {
            output_bytes_max: 64 << 20,
            output_rows_max: 1 << 20,
            expansion_max: 10,
            ..Default::default()
        };
        Allowance::new(limits, InputSize { rows, bytes, longest: 0 })
    }

    #[test]
    fn the_smaller_limit_counts_and_is_named() {
        let of_nothing = allowance(0, 0);
        assert_eq!((of_nothing.bytes_max, of_nothing.rows_max), (1 << 20, 10_000));
        let message = of_nothing.too_many_bytes();
        assert!(
            message.0.contains("1 MiB that its input of 0 rows or bytes allows") && message.1.contains("expansion")
        );
        let (message, advice) = of_nothing.check_rows(10_001).unwrap_err();
        assert!(
            message.contains("10001 rows, more than the 10000 that its input") && advice.contains("limits.expansion")
        );
        assert!(of_nothing.check_rows(10_000).is_ok());

        let between = allowance(50_000, 1 << 20);
        assert_eq!((between.bytes_max, between.rows_max), (10 << 20, 1 << 20));
        let (message, advice) = between.check_rows(u32::MAX).unwrap_err();
        assert!(message.contains("4294967295 rows, more than its limit of 1048576") && advice.contains("limits.rows"));

        let much = allowance(u64::MAX, 3);
        assert_eq!((much.bytes_max, much.rows_max), (64 << 20, 1 << 20));
        assert!(much.too_many_bytes().1.contains("limits.output"));
    }
}
