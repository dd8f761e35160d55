//! Whether the tables of a checkpoint have the same meaning as those of the job.

use super::{StartFacts, StartRequest};
use crate::checkpoint::meaning::{Difference, Meaning, Meanings, is_comparable};
use crate::checkpoint::types::Table;

/// The job of the last startup, from its record.
#[derive(Clone, Debug)]
pub struct PreviousMeanings {
    /// The meanings of its tables.
    pub tables: Meanings,
    /// Its text has variables, whose values are stored nowhere: with these it may have been another job.
    pub has_variables: bool,
    /// Sources whose positions are dropped were not compared, so the digests in checkpoints are not comparable.
    pub without_sources: bool,
}

/// The result of comparing stored data with what the job would make.
#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    /// It is the same, or unknown.
    Same,
    /// It differs; `None`: in an unknown way.
    Changed(Option<Difference>),
}

/// What a table would mix if it continued.
pub struct MixedMeanings {
    /// The sink that keeps the rows; `None`: the table itself.
    pub sink: Option<String>,
    /// Describes what has changed.
    pub what: String,
}

/// Returns the difference between the table of a checkpoint and that of the job; `None`: it can continue.
pub fn find_mixed(found: &StartFacts, request: &StartRequest, before: &Table) -> Option<MixedMeanings> {
    let now = request.meanings.get(&before.name)?;
    let past = found.before.as_ref();
    let past_table = past.and_then(|past| past.tables.get(&before.name));
    let compare =
        |stored: &str, past_meaning: Option<&Meaning>, now: &Meaning| compare(stored, past, past_meaning, now);
    let describe = |difference: Option<Difference>| {
        difference.map_or_else(
            || "its definition has changed, for example the value of a variable".to_owned(),
            |difference| difference.describe(),
        )
    };
    if let Some(state) = &now.state {
        let past_state = past_table.and_then(|past| past.state.as_ref());
        if let Comparison::Changed(difference) = compare(&before.meaning.state, past_state, state) {
            return Some(MixedMeanings { sink: None, what: describe(difference) });
        }
    }
    // A new sink begins with new batches.
    now.sinks.iter().find_map(|(sink, now)| {
        let stored = before.meaning.sinks.get(sink).map_or("", String::as_str);
        let past_sink = past_table.and_then(|past| past.sinks.get(sink));
        match compare(stored, past_sink, now) {
            Comparison::Same => None,
            Comparison::Changed(difference) => {
                let sink = sink.split('.').next().unwrap_or(sink).to_owned();
                Some(MixedMeanings { sink: Some(sink), what: describe(difference) })
            }
        }
    })
}

fn compare(stored: &str, past: Option<&PreviousMeanings>, meaning: Option<&Meaning>, now: &Meaning) -> Comparison {
    let stored = Some(stored).filter(|stored| is_comparable(stored) && !past.is_some_and(|past| past.without_sources));
    if stored == Some(now.digest().as_str()) {
        return Comparison::Same;
    }
    let Some(past_meaning) = meaning else {
        // A checkpoint of an earlier version, whose job is not available.
        return if stored.is_some() { Comparison::Changed(None) } else { Comparison::Same };
    };
    let difference = past_meaning.difference(now);
    let hides = stored.is_some() && past.is_some_and(|past| past.has_variables);
    if difference.is_none() && !hides { Comparison::Same } else { Comparison::Changed(difference) }
}

/// Returns whether the record of the last startup must be read, as digests alone do not show that everything can continue.
pub fn needs_record(tables: &[Table], request: &StartRequest, is_same_job: bool) -> bool {
    let differs = |stored: Option<&str>, now: &Meaning| {
        let stored = stored.filter(|stored| is_comparable(stored));
        stored.map_or(!is_same_job, |stored| stored != now.digest())
    };
    tables.iter().any(|table| {
        let Some(now) = request.meanings.get(&table.name) else { return false };
        let state = now.state.as_ref().is_some_and(|now| differs(Some(&table.meaning.state), now));
        state || now.sinks.iter().any(|(sink, now)| differs(table.meaning.sinks.get(sink).map(String::as_str), now))
    })
}
