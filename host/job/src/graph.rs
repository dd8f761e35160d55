//! Checks of the complete job: names that match, no cycle, a time mode that suits the sources.

use super::errors::JobErrors;
use super::names::stream;
use super::spec::*;
use millstream_base::error::{Error, Result};
use millstream_base::limits::JOB_PARTS_MAX;
use millstream_base::suggest;
use std::collections::{BTreeMap, BTreeSet};

/// Adds errors of the graph.
pub(super) fn check(job: &JobSpec, errors: &JobErrors) {
    if let Err(message) = count(job.sources.len() + job.stages.len() + job.sinks.len()) {
        return errors.add("", "", message);
    }
    if job.sources.is_empty() && !errors.within("sources") {
        let message = "the job has no source; add one, for example [sources.lines] with kind = \"socket\" and \
                       address = \"127.0.0.1:9999\"";
        errors.add("sources", "", message);
    }
    if job.sinks.is_empty() && !errors.within("sinks") {
        let message = "the job has no sink, so its rows go nowhere; add one, for example [sinks.screen] with from = \
                       \"…\" and kind = \"print\"";
        errors.add("sinks", "", message);
    }
    names(job, errors);
    inputs(job, errors);
    for cycle in cycles(job) {
        let first = cycle.first().map_or("", String::as_str);
        if cycle.len() == 1 {
            let message = "it reads its own rows, which would circulate indefinitely; remove its name from its `from`";
            errors.add(format!("stages.{first}.from"), &format!("stage `{first}`: "), message);
            continue;
        }
        let cycle_text = cycle.iter().chain(cycle.first()).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" → ");
        let message = format!(
            "a cycle, in which rows would circulate indefinitely: {cycle_text}; remove one of these from a `from`"
        );
        errors.add(format!("stages.{first}.from"), &format!("stage `{first}`: "), message);
    }
    clock(job, errors);
}

/// Checks the number of parts of a job.
pub(super) fn count(parts: usize) -> Result<(), String> {
    if parts > JOB_PARTS_MAX {
        return Err(format!(
            "the job has {parts} sources, stages and sinks, more than {JOB_PARTS_MAX}; make two jobs of it"
        ));
    }
    Ok(())
}

/// Checks the names of sources and stages, by which their rows are read, and of sinks, whose rows are not read.
fn names(job: &JobSpec, errors: &JobErrors) {
    let mut seen: BTreeMap<(&str, bool), &str> = BTreeMap::new();
    for (section, what, name) in all(job) {
        let is_sink = what == "sink";
        if let Some(other) = seen.get(&(name, is_sink)) {
            let readers = if is_sink { "every sink" } else { "every source and stage" };
            let message = format!("a {other} `{name}` already exists; {readers} needs a unique name");
            errors.add_new(format!("{section}.{name}"), &format!("{what} `{name}`: "), message);
        } else {
            seen.insert((name, is_sink), what);
        }
    }
}

/// Returns section, word and name of each part.
fn all(job: &JobSpec) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
    let sources = job.sources.iter().map(|s| ("sources", "source", s.name.as_str()));
    let stages = job.stages.iter().map(|s| ("stages", "stage", s.name.as_str()));
    let sinks = job.sinks.iter().map(|s| ("sinks", "sink", s.name.as_str()));
    sources.chain(stages).chain(sinks)
}

/// A part whose rows can be read.
struct Readable<'a> {
    name: &'a str,
    what: &'static str,
    /// Its additional streams: `rejected`, `late`, branches. `None` if it could not be read completely.
    sides: Option<Vec<&'a str>>,
}

/// Returns the parts whose rows can be read; of those with the same name the first.
fn readable<'a>(job: &'a JobSpec, errors: &JobErrors) -> Vec<Readable<'a>> {
    let sources =
        job.sources.iter().map(|source| Readable { name: &source.name, what: "source", sides: Some(vec!["rejected"]) });
    let stages = job.stages.iter().map(|stage| {
        let is_complete = !errors.within(&format!("stages.{}", stage.name));
        Readable { name: &stage.name, what: "stage", sides: is_complete.then(|| stage.sides().collect()) }
    });
    let mut seen = BTreeSet::new();
    sources.chain(stages).filter(|part| seen.insert(part.name)).collect()
}

/// Checks that every input names an existing stream, each once.
fn inputs(job: &JobSpec, errors: &JobErrors) {
    let parts = readable(job, errors);
    let stages = job.stages.iter().map(|stage| {
        let more = match stage.operator {
            OperatorSpec::Join(_) => "join.with",
            OperatorSpec::Latest(_) => "enrich.stream",
            _ => "cogroup",
        };
        let key = |index| if index < stage.from.len() { "from" } else { more };
        let inputs: Vec<_> = stage.reads().enumerate().map(|(index, input)| (key(index), input)).collect();
        ("stages", "stage", &stage.name, inputs, stage.reads_side_by_side())
    });
    let sinks = job.sinks.iter().map(|sink| {
        let inputs: Vec<_> = sink.from.iter().map(|input| ("from", input)).collect();
        ("sinks", "sink", &sink.name, inputs, false)
    });
    for (section, what, name, inputs, side_by_side) in stages.chain(sinks) {
        let part = format!("{section}.{name}");
        if errors.full() {
            return;
        }
        if errors.within(&format!("{part}.from")) {
            continue;
        }
        let wrong = |key: &str, message: String| {
            errors.add(format!("{part}.{key}"), &format!("{what} `{name}`: "), message);
        };
        if !inputs.iter().any(|(key, _)| *key == "from") && !errors.within(&part) {
            wrong("from", "it has no `from`; write the name of a source or stage".into());
        }
        let mut seen = BTreeSet::new();
        for (key, input) in inputs {
            if seen.insert(input) {
                unknown(key, input, name, &parts, job).into_iter().for_each(|message| wrong(key, message));
            } else if side_by_side || key != "from" {
                let message = "to use it twice, add a stage that only has `from`, and name that";
                wrong(key, format!("`{input}` is an input twice; {message}"));
            } else {
                wrong(key, format!("`{key}` names `{input}` twice, which would double its rows; remove one"));
            }
        }
    }
}

/// Returns what is wrong with the name of a stream.
fn unknown(key: &str, input: &str, reader: &str, parts: &[Readable<'_>], job: &JobSpec) -> Option<String> {
    let (name, side) = stream(input);
    if let Some(part) = parts.iter().find(|part| part.name == name) {
        return no_side(key, part, side?);
    }
    if job.sinks.iter().any(|sink| sink.name == name) {
        return Some(format!(
            "`{key}` names the sink `{name}`, but a sink has no rows to read; name a source or stage"
        ));
    }
    let other_names = || parts.iter().map(|part| part.name).filter(|other| *other != reader);
    let hint = match suggest::nearest(name, other_names().collect::<Vec<_>>()) {
        Some(near) => match side {
            Some(side) => format!("did you mean `{near}.{side}`?"),
            None => format!("did you mean `{near}`?"),
        },
        None if other_names().next().is_none() => "the job has no other stream".into(),
        None => format!("there are {}", suggest::list(other_names().take(20))),
    };
    Some(format!("`{key}` names `{name}`, which is neither a source nor a stage; {hint}"))
}

/// Returns what is wrong with an additional stream of a part.
fn no_side(key: &str, part: &Readable<'_>, side: &str) -> Option<String> {
    let (name, what) = (part.name, part.what);
    let sides = part.sides.as_ref().filter(|sides| !sides.contains(&side))?;
    if side == "late" {
        let hint = match what {
            "source" => "only stages with `time` have late rows; read `<stage>.late` of such a stage",
            _ => "late rows need event time; write time = \"…\" with a timestamp column there, or remove it here",
        };
        return Some(format!("`{key}` names `{name}.late`, but the {what} `{name}` has no late rows: {hint}"));
    }
    let hint = match suggest::nearest(side, sides.iter().copied()) {
        Some(near) => format!("did you mean `{name}.{near}`?"),
        None => {
            let streams: Vec<String> = sides.iter().map(|side| format!("{name}.{side}")).collect();
            format!("there are {}", suggest::list([name].into_iter().chain(streams.iter().map(String::as_str))))
        }
    };
    Some(format!("`{key}` names `{name}.{side}`, which the {what} `{name}` does not emit; {hint}"))
}

/// Virtual time needs test batches and an interval.
fn clock(job: &JobSpec, errors: &JobErrors) {
    if job.clock != ClockSpec::Manual {
        return;
    }
    for source in job.sources.iter().filter(|s| !s.kind.is_batch_source()) {
        let path = format!("sources.{}.kind", source.name);
        let message = format!(
            "clock = \"manual\" works with `queue` sources only, but this is kind `{}`; remove `clock`, or make it \
             a queue",
            source.kind.keyword()
        );
        errors.add_new(path, &format!("source `{}`: ", source.name), message);
    }
    if job.batch.is_zero() {
        let message = "clock = \"manual\" counts time in batch intervals, but `batch` is zero; write batch = \"1s\"";
        errors.add_new("batch".into(), "", message);
    }
}

/// Returns for each stage the stages that it reads, by index. Other names are ignored.
fn edges(job: &JobSpec) -> Vec<Vec<usize>> {
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, stage) in job.stages.iter().enumerate() {
        index.entry(&stage.name).or_insert(number);
    }
    let sources: BTreeSet<&str> = job.sources.iter().map(|s| s.name.as_str()).collect();
    let reads = |stage: &StageSpec| {
        let parts = stage.reads().map(|from| stream(from).0).filter(|part| !sources.contains(part));
        parts.filter_map(|part| index.get(part).copied()).collect()
    };
    job.stages.iter().map(reads).collect()
}

/// Returns the stages, each after all that it reads, otherwise in the order of the file. Also returns the number of unresolved inputs of stages in
/// or after a cycle (Kahn 1962).
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

/// Returns the stages, each after all that it reads.
pub(super) fn order(job: &JobSpec) -> Result<Vec<usize>> {
    let edges = edges(job);
    let (order, _) = sorted(&edges);
    if order.len() == job.stages.len() {
        return Ok(order);
    }
    let cycle = cycles(job).into_iter().next().unwrap_or_default();
    Err(Error::job(format!("the stages {} form a cycle; remove one of these from a `from`", cycle.join(", "))))
}

/// Returns the cycles, each as the names of its stages in the direction of the rows, beginning with the first in the file. Every cycle has a stage
/// in common with one of these, so fixing these and checking again finds the rest.
fn cycles(job: &JobSpec) -> Vec<Vec<String>> {
    let edges = edges(job);
    let (_, open) = sorted(&edges);
    let mut seen = vec![false; edges.len()];
    let mut found = Vec::new();
    for start in (0..edges.len()).filter(|stage| open[*stage] > 0) {
        // An unresolved stage reads at least one other: following the inputs must return to it.
        let mut path: Vec<usize> = Vec::new();
        let mut current = start;
        while !seen[current] {
            seen[current] = true;
            path.push(current);
            match edges[current].iter().find(|input| open[**input] > 0) {
                Some(input) => current = *input,
                None => break,
            }
        }
        if let Some(begin) = path.iter().position(|stage| *stage == current) {
            let mut cycle: Vec<usize> = path.split_off(begin);
            cycle.reverse();
            let first = cycle.iter().enumerate().min_by_key(|(_, stage)| **stage).map_or(0, |(position, _)| position);
            cycle.rotate_left(first);
            found.push(cycle.iter().map(|stage| job.stages[*stage].name.clone()).collect());
        }
    }
    found
}
