//! The details of one part, as lines.

use super::state::{Line, ShownJob};
use crate::cli::inspect::text::size;
use crate::cli::status::text;
use crate::page::numbers::{count, grouped, percent, time};
use millstream_base::shown::harmless;

/// Maximum characters of a name or a string.
const CHARS_MAX: usize = 2_000;
/// Maximum number of rejected rows shown.
const REFUSED_MAX: usize = 20;

/// Returns the lines. Those without leading space are headings.
pub fn lines(line: &Line<'_>, job: &ShownJob) -> Vec<String> {
    let (now, view) = (&line.now, &job.view);
    let clean = |text: &str| harmless(text, CHARS_MAX);
    let mut lines = vec![format!("{} {} ({})", now.part.role, clean(&now.part.name), clean(&now.part.kind))];
    let mut fact = |name: &str, fact: String| lines.push(format!("    {name:9}{fact}"));
    if !now.part.from.is_empty() {
        let from: Vec<String> = now.part.from.iter().map(|stream| clean(stream)).collect();
        fact("reads", from.join(", "));
    }
    let counts = &now.counted.counts;
    let what = if now.part.role == "sink" { "rows" } else { "rows out" };
    fact(what, format!("{}, {} rows/s", grouped(counts.rows), grouped(counts.rows_per_second)));
    let all_us = view.batches.busy_us.get(now.index).copied().unwrap_or(0);
    fact("busy", format!("{} % of the last ten seconds, {} in total", percent(now.busy), time(all_us)));
    let facts = now.facts;
    if let Some(fill) = now.fill() {
        let (rows, bytes, most) =
            (count(facts.waiting_rows, "record"), size(facts.waiting_bytes), size(facts.waiting_bytes_max));
        fact("inbox", format!("{} % full: {rows}, {bytes} of {most}", percent(fill)));
    }
    match (facts.finished && now.part.role == "source", facts.idle_ms) {
        (true, _) => fact("source", "finished".into()),
        (false, 1..) => fact("source", format!("idle for {}", time(facts.idle_ms.saturating_mul(1000)))),
        (false, 0) => {}
    }
    if counts.rejected > 0 {
        let unread = counts.unread_rejected;
        let unread = if unread > 0 { format!(", {} of them read by no sink", grouped(unread)) } else { String::new() };
        fact("rejected", format!("{}{unread}", count(counts.rejected, "row")));
    }
    if counts.late > 0 {
        fact("late", count(counts.late, "row"));
    }
    if let Some(lag) = now.lag_us {
        fact("watermark", format!("{} before the last batch", time(lag)));
    }
    if facts.state_rows > 0 {
        fact("state", format!("{} rows, keys and windows, {}", grouped(facts.state_rows), size(facts.state_bytes)));
    }
    if !now.part.grants.is_empty() {
        fact("grants", clean(&now.part.grants.join(", ")));
    }
    if line.cost.has_plugin {
        let (guest, calls) = (core_percent(line.cost.guest), grouped(line.cost.calls.round() as u64));
        fact("now", format!("{guest} % of a core in the guest, {calls} calls/s"));
    }
    lines.extend(text::facts(now.counted).lines().map(clean));
    let rows_rejected: Vec<_> =
        job.rejects.iter().rev().filter(|row| row.part == now.part.name).take(REFUSED_MAX).collect();
    if !rows_rejected.is_empty() && now.part.role != "sink" {
        lines.push("last rejected or late rows".into());
    }
    for row in rows_rejected {
        let why = if row.late { "late" } else { &row.reason };
        let cells: Vec<String> = row.cells.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        lines.push(format!("    batch {}: {}", row.batch, clean(why)));
        lines.push(format!("      {}", clean(&cells.join(", "))));
    }
    let said = view.diagnosis.sentences.iter().filter(|sentence| sentence.part.as_ref() == Some(&now.part.name));
    lines.extend(said.map(|sentence| format!("  {}", clean(&sentence.text))));
    lines
}

/// Formats a percentage, for example `28` or `0.3`, as the cost of a plugin is often low.
pub fn core_percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 9.95 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}
