//! What a shadow has shown, for people.

use super::status::words::{duration, grouped};
use crate::run::upgrade::shadow::ShadowReport;
use std::fmt::Write as _;

/// A table of what both versions did, and the first differences.
pub fn in_words(report: &ShadowReport) -> String {
    let lines = [
        ["".into(), "old".into(), "new".into(), "differ".into()],
        ["rows".into(), grouped(report.rows), String::new(), grouped(report.rows_differing)],
        ["states".into(), grouped(report.states), String::new(), grouped(report.states_differing)],
        [
            "rejected rows".into(),
            grouped(report.rejected),
            grouped(report.rejected_new),
            grouped(report.rejected_differing),
        ],
        ["processor time".into(), duration(report.cost_ns), duration(report.cost_new_ns), ratio(report)],
    ];
    let plural = if report.batches == 1 { "" } else { "es" };
    let mut text = format!("both versions ran {} batch{plural}\n", grouped(report.batches));
    for [what, old, new, differ] in lines {
        let _ = writeln!(text, "  {what:<15}{old:>14}{new:>14}{differ:>12}");
    }
    for example in &report.examples {
        let _ = writeln!(text, "  {example}");
    }
    if let Some(failed) = &report.failed {
        let _ = writeln!(text, "  the new version failed, and was not called any more: {failed}");
    }
    text
}

/// How much longer the new version took.
fn ratio(report: &ShadowReport) -> String {
    match report.cost_ns {
        0 => String::new(),
        old => format!("{:.2} x", report.cost_new_ns as f64 / old as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_with_examples() {
        let report = ShadowReport {
            batches: 5,
            rows: 1200,
            rows_differing: 3,
            rejected: 1,
            rejected_new: 2,
            rejected_differing: 1,
            cost_ns: 2_000_000,
            cost_new_ns: 3_000_000,
            examples: vec!["batch 7: only the old one put out {n: 1}".into()],
            ..ShadowReport::default()
        };
        let table = "both versions ran 5 batches\n\
            \x20                            old           new      differ\n\
            \x20 rows                    1,200                         3\n\
            \x20 states                      0                         0\n\
            \x20 rejected rows               1             2           1\n\
            \x20 processor time        2.00 ms       3.00 ms      1.50 x\n\
            \x20 batch 7: only the old one put out {n: 1}\n";
        let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(&in_words(&report)), lines(table));
    }
}
