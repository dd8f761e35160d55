//! What must hold of a job as a whole: names that fit together, no cycle, a clock that suits the sources.

use super::mistakes::Mistakes;
use super::names::stream;
use super::spec::*;
use super::suggest;
use crate::error::{Error, Result};
use crate::limits::JOB_PARTS_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// Notes what is wrong with the graph.
pub(super) fn check(job: &JobSpec, mistakes: &Mistakes) {
    if let Err(message) = count(job.sources.len() + job.stages.len() + job.sinks.len()) {
        return mistakes.add("", "", message);
    }
    if job.sources.is_empty() && !mistakes.within("sources") {
        let message = "the job has no source; add one, as [sources.lines] with kind = \"socket\" and address = \
                       \"127.0.0.1:9999\"";
        mistakes.add("sources", "", message);
    }
    if job.sinks.is_empty() && !mistakes.within("sinks") {
        let message = "the job has no sink, so its rows go nowhere; add one, as [sinks.screen] with from = \"…\" and \
                       kind = \"print\"";
        mistakes.add("sinks", "", message);
    }
    names(job, mistakes);
    inputs(job, mistakes);
    for cycle in cycles(job) {
        let first = cycle.first().map_or("", String::as_str);
        if cycle.len() == 1 {
            let message = "it reads its own rows, which would go round for ever; take its name out of its `from`";
            mistakes.add(format!("stages.{first}.from"), &format!("stage `{first}`: "), message);
            continue;
        }
        let way = cycle.iter().chain(cycle.first()).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" → ");
        let message =
            format!("a cycle, in which rows would go round for ever: {way}; take one of these out of a `from`");
        mistakes.add(format!("stages.{first}.from"), &format!("stage `{first}`: "), message);
    }
    clock(job, mistakes);
}

/// Whether a job may have so many parts.
pub(super) fn count(parts: usize) -> Result<(), String> {
    if parts > JOB_PARTS_MAX {
        return Err(format!(
            "the job has {parts} sources, stages and sinks, more than {JOB_PARTS_MAX}; make two jobs of it"
        ));
    }
    Ok(())
}

/// Every part has a name of its own.
fn names(job: &JobSpec, mistakes: &Mistakes) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (section, what, name) in all(job) {
        if let Some(other) = seen.get(name) {
            let message =
                format!("there is a {other} `{name}` already; every source, stage and sink needs a name of its own");
            mistakes.add_new(format!("{section}.{name}"), &format!("{what} `{name}`: "), message);
        } else {
            seen.insert(name, what);
        }
    }
}

/// Section, word and name of each part.
fn all(job: &JobSpec) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
    let sources = job.sources.iter().map(|s| ("sources", "source", s.name.as_str()));
    let stages = job.stages.iter().map(|s| ("stages", "stage", s.name.as_str()));
    let sinks = job.sinks.iter().map(|s| ("sinks", "sink", s.name.as_str()));
    sources.chain(stages).chain(sinks)
}

/// Every `from` names streams that there are, each once.
fn inputs(job: &JobSpec, mistakes: &Mistakes) {
    let mut streams: Vec<&str> = all(job).filter(|(_, what, _)| *what != "sink").map(|(_, _, name)| name).collect();
    let known: BTreeSet<&str> = streams.iter().copied().collect();
    let mut once = known.clone();
    streams.retain(|name| once.remove(name));
    let stages = job.stages.iter().map(|s| ("stages", "stage", &s.name, s.reads().cloned().collect::<Vec<_>>()));
    let sinks = job.sinks.iter().map(|s| ("sinks", "sink", &s.name, s.from.clone()));
    for (section, what, name, from) in stages.chain(sinks) {
        let path = format!("{section}.{name}.from");
        if mistakes.full() {
            return;
        }
        if mistakes.within(&path) {
            continue;
        }
        let wrong = |message: String| mistakes.add(path.clone(), &format!("{what} `{name}`: "), message);
        if from.is_empty() && !mistakes.within(&format!("{section}.{name}")) {
            wrong("it has no `from`; write the name of a source or stage".into());
        }
        let mut seen = BTreeSet::new();
        for input in &from {
            if !seen.insert(input) {
                wrong(format!("`from` names `{input}` twice, which would double its rows; remove one"));
            } else if let Some(message) = unknown(input, name, &known, &streams, job) {
                wrong(message);
            }
        }
    }
}

/// What is wrong with one name in a `from`.
fn unknown(input: &str, reader: &str, known: &BTreeSet<&str>, streams: &[&str], job: &JobSpec) -> Option<String> {
    let (part, rejected) = stream(input);
    if known.contains(part) {
        return None;
    }
    if job.sinks.iter().any(|sink| sink.name == part) {
        return Some(format!(
            "`from` names the sink `{part}`, and a sink has no rows to read; name what the sink reads"
        ));
    }
    if let Some((part, word)) = part.split_once('.') {
        let message = match word {
            "late" => format!("`{part}.late`: late rows are not available in this version; remove it"),
            _ => format!("`from` names `{input}`; a stream is the name of a source or stage, or `<name>.rejected`"),
        };
        return Some(message);
    }
    let others: Vec<&str> = streams.iter().copied().filter(|name| *name != reader).collect();
    let hint = match suggest::nearest(part, others.iter().copied()) {
        Some(near) if rejected => format!("did you mean `{near}.rejected`?"),
        Some(near) => format!("did you mean `{near}`?"),
        None if others.is_empty() => "there is nothing else to read".into(),
        None => format!("there are {}", suggest::list(others.iter().copied().take(20))),
    };
    Some(format!("`from` names `{part}`, which is neither a source nor a stage; {hint}"))
}

/// Virtual time needs test batches and an interval.
fn clock(job: &JobSpec, mistakes: &Mistakes) {
    if job.clock != ClockSpec::Manual {
        return;
    }
    for source in job.sources.iter().filter(|s| !matches!(s.kind, SourceKind::Queue { .. })) {
        let path = format!("sources.{}.kind", source.name);
        let message = format!(
            "clock = \"manual\" works with `queue` sources only, and this is kind `{}`; remove `clock`, or make \
             it a queue",
            source.kind.word()
        );
        mistakes.add_new(path, &format!("source `{}`: ", source.name), message);
    }
    if job.batch.is_zero() {
        let message = "clock = \"manual\" counts time in batch intervals, and `batch` is zero; write batch = \"1s\"";
        mistakes.add_new("batch".into(), "", message);
    }
}

/// For each stage the stages that it reads, by index. Names that are no stage are left out.
fn edges(job: &JobSpec) -> Vec<Vec<usize>> {
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, stage) in job.stages.iter().enumerate() {
        index.entry(&stage.name).or_insert(at);
    }
    let sources: BTreeSet<&str> = job.sources.iter().map(|s| s.name.as_str()).collect();
    let reads = |stage: &StageSpec| {
        let parts = stage.reads().map(|from| stream(from).0).filter(|part| !sources.contains(part));
        parts.filter_map(|part| index.get(part).copied()).collect()
    };
    job.stages.iter().map(reads).collect()
}

/// The stages in an order in which each comes after all that it reads, as in the file where that leaves a choice; and
/// the number of inputs that stay open of those in or behind a cycle (Kahn 1962).
fn sorted(edges: &[Vec<usize>]) -> (Vec<usize>, Vec<usize>) {
    let mut open: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (stage, inputs) in edges.iter().enumerate() {
        for input in inputs {
            readers[*input].push(stage);
        }
    }
    let mut ready: BTreeSet<usize> = (0..open.len()).filter(|stage| open[*stage] == 0).collect();
    let mut order = Vec::new();
    while let Some(stage) = ready.pop_first() {
        order.push(stage);
        for reader in &readers[stage] {
            open[*reader] -= 1;
            if open[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    (order, open)
}

/// The stages in an order in which each comes after all that it reads.
pub(super) fn order(job: &JobSpec) -> Result<Vec<usize>> {
    let edges = edges(job);
    let (order, _) = sorted(&edges);
    if order.len() == job.stages.len() {
        return Ok(order);
    }
    let cycle = cycles(job).into_iter().next().unwrap_or_default();
    Err(Error::job(format!("the stages {} form a cycle; take one of these out of a `from`", cycle.join(", "))))
}

/// The cycles, each as the names of its stages in the direction of the rows, beginning with the first in the file.
/// Every cycle has a stage with one of the cycles returned, so mending these and checking again finds the rest.
fn cycles(job: &JobSpec) -> Vec<Vec<String>> {
    let edges = edges(job);
    let (_, open) = sorted(&edges);
    let mut seen = vec![false; edges.len()];
    let mut found = Vec::new();
    for start in (0..edges.len()).filter(|stage| open[*stage] > 0) {
        // A stage that stays open reads at least one that stays open too: going from input to input must come round.
        let mut way: Vec<usize> = Vec::new();
        let mut at = start;
        while !seen[at] {
            seen[at] = true;
            way.push(at);
            match edges[at].iter().find(|input| open[**input] > 0) {
                Some(input) => at = *input,
                None => break,
            }
        }
        if let Some(begin) = way.iter().position(|stage| *stage == at) {
            let mut cycle: Vec<usize> = way.split_off(begin);
            cycle.reverse();
            let first = cycle.iter().enumerate().min_by_key(|(_, stage)| **stage).map_or(0, |(position, _)| position);
            cycle.rotate_left(first);
            found.push(cycle.iter().map(|stage| job.stages[*stage].name.clone()).collect());
        }
    }
    found
}
