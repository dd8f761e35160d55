//! The result of an upgrade, for people and for programs.

use crate::cli::status::text::duration;
use millstream_base::error::{Error, Result};
use millstream_base::units::grouped;
use millstream_engine::operators::plugin::shadow::ShadowReport;
use millstream_engine::running::upgrade::{UpgradeStatus, UpgradeStep};
use millstream_job::plugin_part::PluginPart;
use serde::Serialize;
use std::fmt::Write as _;

/// What `millstream upgrade --json` prints.
#[derive(Serialize)]
struct UpgradeReport<'a> {
    stage: &'a str,
    /// Name and version, then the digest.
    from: &'a (String, String),
    to: &'a (String, String),
    promoted: bool,
    /// Why it was dropped.
    why: Option<&'a str>,
    /// The last batch of the old version.
    after: Option<u64>,
    /// For how long no batch could begin.
    pause_us: Option<u64>,
    shadow: Option<&'a ShadowReport>,
}

/// Returns one JSON object. `ruled`: why it was dropped, if it was.
pub fn json(status: &UpgradeStatus, ruled: &Result<(), String>) -> Result<String> {
    let (after, pause_us) = match status.step {
        UpgradeStep::Done { after, pause_us } => (Some(after), Some(pause_us)),
        _ => (None, None),
    };
    let UpgradeStatus { stage, from, to, shadow, .. } = status;
    let why = ruled.as_ref().err().map(String::as_str);
    let report =
        UpgradeReport { stage, from, to, promoted: after.is_some(), why, after, pause_us, shadow: shadow.as_ref() };
    Ok(serde_json::to_string(&report).map_err(Error::bug)? + "\n")
}

/// Returns the result as text. The command's error says why it was dropped.
pub fn render(UpgradeStatus { stage, from, to, step, shadow, .. }: &UpgradeStatus) -> String {
    let mut text = shadow.as_ref().map(describe_shadow).unwrap_or_default();
    if let UpgradeStep::Done { after, pause_us } = step {
        let _ = writeln!(
            text,
            "{}: {} instead of {} since batch {}",
            PluginPart::parse(stage),
            to.0,
            from.0,
            after.saturating_add(1)
        );
        let _ = writeln!(text, "  pause between batches: {}", duration(pause_us.saturating_mul(1000)));
    }
    text
}

/// Returns a table of what both versions did, and the first differences.
fn describe_shadow(report: &ShadowReport) -> String {
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
        ["CPU time".into(), duration(report.cost_ns), duration(report.cost_new_ns), ratio(report)],
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
        let _ = writeln!(text, "  the new version failed and is no longer called: {failed}");
    }
    text
}

/// Returns how much longer the new version took.
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
            examples: vec!["batch 7: only the old version emitted {n: 1}".into()],
            ..ShadowReport::default()
        };
        let table = "both versions ran 5 batches\n\
            \x20                           old           new      differ\n\
            \x20 rows                    1,200                         3\n\
            \x20 states                      0                         0\n\
            \x20 rejected rows               1             2           1\n\
            \x20 CPU time              2.00 ms       3.00 ms      1.50 x\n\
            \x20 batch 7: only the old version emitted {n: 1}\n";
        let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(&describe_shadow(&report)), lines(table));
    }
}
