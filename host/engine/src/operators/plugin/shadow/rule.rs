//! Decision on a version that has run in a shadow, from the report alone.

use super::ShadowReport;
use clap::ValueEnum;

/// When a version that has run in a shadow is promoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ShadowRule {
    /// If it emits and rejects the same rows and keeps the same state
    #[default]
    Same,
    /// If it does not reject more rows; rows and state may differ
    NoMoreRejected,
    /// Always, unless a call of it fails
    Always,
    /// Never: only report the differences
    Never,
}

impl ShadowRule {
    /// Returns `Ok` if the new version is promoted. The error says why it is dropped.
    pub fn decide(self, report: &ShadowReport, batches: u64) -> Result<(), String> {
        if report.failed.is_some() {
            return Err("a call of it failed, as the report says".into());
        }
        if self == ShadowRule::Never {
            return Err("`--promote never` requests the report only".into());
        }
        if report.batches < batches {
            return Err(format!("it has run in {} of {batches} batches", report.batches));
        }
        match self {
            ShadowRule::Same if !report.is_same() => Err(format!("not the same: {}", differences(report))),
            ShadowRule::NoMoreRejected if report.rejected_new > report.rejected => {
                let (old, new) = (report.rejected, report.rejected_new);
                Err(format!("it rejected {new} rows, and the old version {old}"))
            }
            _ => Ok(()),
        }
    }
}

/// Describes the differences.
fn differences(report: &ShadowReport) -> String {
    let all = [
        (report.rows_differing, "rows differ"),
        (report.states_differing, "states differ"),
        (report.rejected_differing, "rows were rejected by one version only"),
    ];
    let some = all.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    some.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> ShadowReport {
        ShadowReport { batches: 5, rows: 10, rejected: 2, rejected_new: 2, ..ShadowReport::default() }
    }

    #[test]
    fn each_rule_promotes_what_it_says() {
        let same = report();
        let rows = ShadowReport { rows_differing: 1, ..report() };
        let states = ShadowReport { states_differing: 3, ..report() };
        let others = ShadowReport { rejected_differing: 2, ..report() };
        let fewer = ShadowReport { rejected_new: 1, rejected_differing: 1, ..report() };
        let more = ShadowReport { rejected_new: 3, rejected_differing: 1, ..report() };
        let failed = ShadowReport { failed: Some("no memory".into()), ..report() };
        let early = ShadowReport { batches: 4, ..report() };
        let promoted = |rule: ShadowRule| {
            [&same, &rows, &states, &others, &fewer, &more, &failed, &early]
                .map(|report| rule.decide(report, 5).is_ok())
        };
        assert_eq!(promoted(ShadowRule::Same), [true, false, false, false, false, false, false, false]);
        assert_eq!(promoted(ShadowRule::NoMoreRejected), [true, true, true, true, true, false, false, false]);
        assert_eq!(promoted(ShadowRule::Always), [true, true, true, true, true, true, false, false]);
        assert_eq!(promoted(ShadowRule::Never), [false; 8]);
    }

    #[test]
    fn what_is_dropped_hears_why() {
        let all = ShadowReport { rows_differing: 1, states_differing: 2, rejected_differing: 3, ..report() };
        let reason = ShadowRule::Same.decide(&all, 5).unwrap_err();
        assert_eq!(reason, "not the same: 1 rows differ, 2 states differ, 3 rows were rejected by one version only");
        let failed = ShadowReport { failed: Some("it trapped".into()), ..report() };
        assert_eq!(ShadowRule::Always.decide(&failed, 5).unwrap_err(), "a call of it failed, as the report says");
    }
}
