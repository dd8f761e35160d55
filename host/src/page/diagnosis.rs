//! Derives sentences from the numbers of a job: whether it keeps up, its bottleneck, and what else is worth knowing.
//! Pure.
//!
//! The bottleneck is the part that is always busy, not the parts that wait for it: their inboxes fill because of it.

use super::numbers::{count, percent, time};
use super::part::{self, PartNow};
use super::view::{Bottleneck, Diagnosis, JobState, JobView, Level, Sentence};
use millstream_runtime::control::GraphPart;

/// A part with this share of busy time is a bottleneck.
const BUSY: f64 = 0.8;
/// The share of time without a possible batch start that is reported.
const HELD_UP: f64 = 0.2;
/// A source whose inbox is filled to this share waits.
const FULL: f64 = 0.8;
/// A watermark this far behind the batches is reported.
const WATERMARK_BEHIND_US: u64 = 60_000_000;
const REJECTED_SHARE: f64 = 0.01;
const IDLE_MS: u64 = 60_000;
const CHECKPOINT_OLD_US: i64 = 300_000_000;

/// Returns the diagnosis of a job.
pub fn diagnose(view: &JobView) -> Diagnosis {
    match view.state {
        JobState::Starting => return summary_only(None, "The job has not responded yet: it is starting."),
        JobState::Silent => {
            let since = time(view.now_us.saturating_sub(view.answered_us).max(0).unsigned_abs());
            let why = match (&view.trouble, view.restarts.last()) {
                (Some(trouble), _) => format!(" {trouble}."),
                (None, Some(restart)) if restart.at_us >= view.answered_us - 2_000_000 => format!(" {}.", restart.why),
                (None, _) => " It has no running process: it is stopping or restarting.".into(),
            };
            return summary_only(Some(false), &format!("The job has not responded for {since}.{why}"));
        }
        JobState::Running => {}
    }
    let busiest = busiest(view);
    let bottleneck = busiest.filter(|(_, share)| *share >= 0.05);
    let mut sentences = Vec::new();
    let (keeps_up, summary) = keeping_up(view, busiest);
    about_parts(view, &mut sentences);
    about_job(view, &mut sentences);
    sentences.sort_by_key(|sentence| match sentence.level {
        Level::Bad => 0,
        Level::Note => 1,
        Level::Good => 2,
    });
    let bottleneck =
        bottleneck.map(|(part, share)| Bottleneck { part: part.name.clone(), busy_percent: percent(share) });
    Diagnosis { keeps_up, summary, bottleneck, sentences }
}

fn summary_only(keeps_up: Option<bool>, summary: &str) -> Diagnosis {
    Diagnosis { keeps_up, summary: summary.into(), ..Diagnosis::default() }
}

/// Returns the part with the highest share of busy time.
fn busiest(view: &JobView) -> Option<(&GraphPart, f64)> {
    let shares = part::all(view).into_iter().map(|now| (now.part, now.busy));
    shares.max_by(|(_, one), (_, other)| one.total_cmp(other))
}

fn keeping_up(view: &JobView, busiest: Option<(&GraphPart, f64)>) -> (Option<bool>, String) {
    let (recent, interval_us) = (&view.batches.last_10_s, view.graph.interval_us);
    let span = recent.span_us.max(1) as f64;
    let held_up = recent.waits.in_flight_us as f64 / span;
    let memory = recent.waits.memory_us as f64 / span;
    let waiting = view.batches.in_flight.iter().map(|batch| view.now_us.saturating_sub(batch.begun_us)).max();
    let oldest_us = waiting.unwrap_or(0).max(0).unsigned_abs();
    let full = view.parts.iter().zip(&view.graph.parts).find(|(facts, _)| {
        facts.waiting_bytes_max > 0 && facts.waiting_bytes as f64 / facts.waiting_bytes_max as f64 >= FULL
    });
    let cause = match busiest {
        Some((part, share)) if share >= 0.25 => {
            let why = if part.role == "sink" { "commits" } else { "is busy" };
            format!(" {} `{}` {why} for {} % of the time.", capitalize(&part.role), part.name, percent(share))
        }
        _ => String::new(),
    };
    if view.status.memory_tight || memory > HELD_UP {
        return (Some(false), format!("Not keeping up: memory is low, so sources wait.{cause}"));
    }
    if oldest_us > 10_000_000_u64.max(interval_us.saturating_mul(5)) {
        let took = time(oldest_us);
        return (Some(false), format!("Not keeping up: a batch started {took} ago is not committed yet.{cause}"));
    }
    if recent.batches == 0 {
        return match view.status.batches_committed {
            0 => (None, "No batch is committed yet.".into()),
            _ if view.batches.in_flight.is_empty() => (Some(true), "Idle: no rows for ten seconds.".into()),
            _ => (None, format!("A batch has been running for {}.", time(oldest_us))),
        };
    }
    let (p50, p99) = (time(recent.took_p50_us), time(recent.took_p99_us));
    let too_slow = interval_us > 0 && recent.took_p50_us > interval_us.saturating_mul(view.graph.in_flight_max.max(1));
    if held_up > HELD_UP || too_slow {
        let why = match interval_us {
            0 => format!("batches wait for previous batches {} % of the time", percent(held_up)),
            _ => format!("a batch takes {p50}, but the interval is {}", time(interval_us)),
        };
        return (Some(false), format!("Not keeping up: {why}.{cause}"));
    }
    if let Some((_, part)) = full {
        return (Some(false), format!("Not keeping up: `{}` receives more than the job processes.{cause}", part.name));
    }
    let of = match interval_us {
        0 => String::new(),
        // Several batches are processed at the same time.
        _ if recent.took_p50_us > interval_us => format!(", though the interval is {}", time(interval_us)),
        _ => format!(" of {}", time(interval_us)),
    };
    (Some(true), format!("Keeping up: a batch takes {p50}{of}, 99 of 100 take at most {p99}."))
}

fn about_parts(view: &JobView, sentences: &mut Vec<Sentence>) {
    let status = &view.status;
    let workers = status.workers.max(1) as f64;
    let minute = &view.batches.last_minute;
    for now in part::all(view) {
        let PartNow { index, part, counted, facts, .. } = now;
        let name = &part.name;
        let mut say = |level, text| sentences.push(Sentence { level, text, part: Some(name.clone()) });
        let busy = minute.busy_us.get(index).copied().unwrap_or(0) as f64 / minute.span_us.max(1) as f64;
        let busy = if part.role == "sink" { busy } else { busy / workers };
        if busy >= BUSY {
            let minute = percent(busy);
            say(
                Level::Bad,
                match part.role.as_str() {
                    "sink" => {
                        format!(
                            "Sink `{name}` waits for its {}: {minute} % of the last minute.",
                            wait_target(&part.kind)
                        )
                    }
                    role => {
                        format!("{} `{name}` was busy {minute} % of the last minute, on all workers.", capitalize(role))
                    }
                },
            );
        }
        if counted.counts.unread_rejected > 0 {
            let rows = count(counted.counts.unread_rejected, "row");
            say(
                Level::Bad,
                format!(
                    "`{name}` has rejected {rows} that no sink reads; add a sink of `{name}.rejected` to keep them."
                ),
            );
        } else if counted.counts.rejected > 0 {
            let all = (counted.counts.rows + counted.counts.rejected) as f64;
            let share = counted.counts.rejected as f64 / all;
            let level = if share > REJECTED_SHARE { Level::Bad } else { Level::Note };
            say(level, format!("`{name}` has rejected {}.", count(counted.counts.rejected, "row")));
        }
        if counted.counts.late > 0 {
            say(Level::Note, format!("{} came too late for `{name}`.", count(counted.counts.late, "row")));
        }
        if part.role == "source" && facts.idle_ms >= IDLE_MS && !facts.finished {
            say(Level::Note, format!("Source `{name}` has been idle for {}.", time(facts.idle_ms * 1000)));
        }
        if let Some(lag) = now.lag_us.filter(|lag| *lag > WATERMARK_BEHIND_US) {
            let lag = time(lag);
            say(Level::Note, format!("The watermark of `{name}` is delayed by {lag}: windows close that late."));
        }
    }
}

fn about_job(view: &JobView, sentences: &mut Vec<Sentence>) {
    let mut say = |level, text| sentences.push(Sentence { level, text, part: None });
    let hour_ago = view.now_us.saturating_sub(3_600_000_000);
    let lately = view.restarts.iter().filter(|restart| restart.at_us > hour_ago).count() as u64;
    if let (Some(last), 1..) = (view.restarts.last(), lately) {
        let times = if lately == 1 { "once".into() } else { format!("{lately} times") };
        say(Level::Bad, format!("The job restarted {times} in the last hour; the last reason: {}.", last.why));
    }
    if view.graph.checkpoints.is_none() {
        say(Level::Note, "The job has no checkpoints: its state is lost when it ends.".into());
    } else if let Some(last) = view.checkpoints.last() {
        let age = view.now_us.saturating_sub(last.published_us);
        if age > CHECKPOINT_OLD_US && view.batches.last_minute.batches > 0 {
            say(Level::Note, format!("The last checkpoint is {} old.", time(age.unsigned_abs())));
        }
    }
    if view.status.answered < view.status.processes {
        let (answered, processes) = (view.status.answered, view.status.processes);
        say(Level::Note, format!("Shown: {answered} of {processes} processes; the others are not on this machine."));
    }
    if let Some(trouble) = &view.trouble {
        say(Level::Bad, format!("A process does not respond: {trouble}."));
    }
}

/// Returns what a sink of this kind waits for.
fn wait_target(kind: &str) -> &'static str {
    match kind {
        "postgres" => "database",
        "kafka" | "http" => "server",
        "websocket" => "clients",
        _ => "disk",
    }
}

fn capitalize(word: &str) -> String {
    let mut remaining = word.chars();
    remaining.next().map_or_else(String::new, |first| first.to_uppercase().chain(remaining).collect())
}
