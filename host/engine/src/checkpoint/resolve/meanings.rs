//! Whether the tables of a checkpoint mean what those of the job do.

use super::{StartFacts, StartRequest};
use crate::checkpoint::meaning::{Difference, Meaning, Meanings, is_comparable};
use crate::checkpoint::types::Table;

/// The job of the last start, as its record tells it.
#[derive(Clone, Debug)]
pub struct MeaningsBefore {
    /// What its tables meant.
    pub tables: Meanings,
    /// Its texts have variables, whose values are kept nowhere: it may have been another job with these.
    pub has_variables: bool,
    /// Sources whose positions are given up were not compared, so that the digests in checkpoints say nothing.
    pub without_sources: bool,
}

/// How something kept compares with what the job would make.
#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    /// It is the same, or nobody can tell.
    Same,
    /// It is something else; `None`: what differs is not known.
    Changed(Option<Difference>),
}

/// What a table that goes on would mix.
pub struct Mixed {
    /// The sink that keeps the rows; `None`: the table itself.
    pub sink: Option<String>,
    /// What has changed, in words.
    pub what: String,
}

/// What the table of a checkpoint and what the job makes of it now have not in common; `None`: it goes on.
pub fn mixed(found: &StartFacts, wanted: &StartRequest, before: &Table) -> Option<Mixed> {
    let now = wanted.meanings.get(&before.name)?;
    let past = found.before.as_ref();
    let past_table = past.and_then(|past| past.tables.get(&before.name));
    let compare =
        |stored: &str, past_meaning: Option<&Meaning>, now: &Meaning| compare(stored, past, past_meaning, now);
    let words = |difference: Option<Difference>| {
        difference.map_or_else(
            || "what its rows are made of has changed, as the value of a variable does".to_owned(),
            |difference| difference.words(),
        )
    };
    if let Some(state) = &now.state {
        let past_state = past_table.and_then(|past| past.state.as_ref());
        if let Comparison::Changed(difference) = compare(&before.meaning.state, past_state, state) {
            return Some(Mixed { sink: None, what: words(difference) });
        }
    }
    // A sink that is new begins with the batches that come.
    now.sinks.iter().find_map(|(sink, now)| {
        let stored = before.meaning.sinks.get(sink).map_or("", String::as_str);
        let past_sink = past_table.and_then(|past| past.sinks.get(sink));
        match compare(stored, past_sink, now) {
            Comparison::Same => None,
            Comparison::Changed(difference) => {
                let sink = sink.split('.').next().unwrap_or(sink).to_owned();
                Some(Mixed { sink: Some(sink), what: words(difference) })
            }
        }
    })
}

fn compare(stored: &str, past: Option<&MeaningsBefore>, meaning: Option<&Meaning>, now: &Meaning) -> Comparison {
    let stored = Some(stored).filter(|stored| is_comparable(stored) && !past.is_some_and(|past| past.without_sources));
    if stored == Some(now.digest().as_str()) {
        return Comparison::Same;
    }
    let Some(past_meaning) = meaning else {
        // A checkpoint of an earlier version, whose job cannot be looked at.
        return if stored.is_some() { Comparison::Changed(None) } else { Comparison::Same };
    };
    let difference = past_meaning.difference(now);
    let hides = stored.is_some() && past.is_some_and(|past| past.has_variables);
    if difference.is_none() && !hides { Comparison::Same } else { Comparison::Changed(difference) }
}

/// Whether the record of the last start has to be looked at, as digests alone do not say that everything goes on.
pub fn needs_record(tables: &[Table], wanted: &StartRequest, is_same_job: bool) -> bool {
    let differs = |stored: Option<&str>, now: &Meaning| {
        let stored = stored.filter(|stored| is_comparable(stored));
        stored.map_or(!is_same_job, |stored| stored != now.digest())
    };
    tables.iter().any(|table| {
        let Some(now) = wanted.meanings.get(&table.name) else { return false };
        let state = now.state.as_ref().is_some_and(|now| differs(Some(&table.meaning.state), now));
        state || now.sinks.iter().any(|(sink, now)| differs(table.meaning.sinks.get(sink).map(String::as_str), now))
    })
}
