//! Runs plugins in a plain `cargo test`, without a host. Rows are JSON.
//!
//! Timestamps are numbers of microseconds, binaries are hexadecimal strings. `log` writes to standard error, `counter` does
//! nothing, `files` reads from `testdata/`, and `net` uses the machine's sockets.

mod json;
mod sink;
mod source;

use crate::cogroup::{self, Cogroup};
use crate::timers::host as timers;
use crate::update::Groups;
use crate::writer::{BitWriter, Writer};
use crate::{
    Aggregate, Context, Description, Error, Migrate, OldStates, Rejected, Row, Schema, Sink, Source, Stage, Timestamp,
    Transform, Update, row,
};
use json::{from_json, to_json};
use serde_json::{Map, Value};
pub use sink::Writing;
pub use source::{Partition, Poll};
use std::marker::PhantomData;

/// Result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The output rows: an array of objects.
    pub rows: Value,
    /// The rejected rows: index in the input rows, and reason. For worlds `update` and `cogroup`, the input rows are sorted by key.
    /// For `cogroup`, the rows of the second input are counted after those of the first.
    pub rejected: Vec<(u32, String)>,
}

/// A plugin under test and the settings of its stage. Created by [`transform`], [`update`], [`aggregate`], [`cogroup()`],
/// [`source()`] and [`sink()`].
pub struct Test<P, W> {
    config: Value,
    inputs: Vec<Schema>,
    key: Schema,
    /// Number of the last batch.
    batch: u64,
    /// World `update`: the state of each key.
    states: Vec<(Value, Value)>,
    /// World `update`: timers by key.
    timers: Vec<(Value, i64)>,
    watermark: Option<Timestamp>,
    plugin: PhantomData<(P, W)>,
}

/// World `transform`, as a type parameter of [`Test`].
pub struct TransformWorld;
/// World `update`, as a type parameter of [`Test`].
pub struct UpdateWorld;
/// World `aggregate`, as a type parameter of [`Test`].
pub struct AggregateWorld;
/// World `cogroup`, as a type parameter of [`Test`].
pub struct CogroupWorld;
/// World `source`, as a type parameter of [`Test`].
pub struct SourceWorld;
/// World `sink`, as a type parameter of [`Test`].
pub struct SinkWorld;

/// Tests a plugin of world `transform`. Its type has the name of the function with `#[transform]`.
pub fn transform<P: Transform>() -> Test<P, TransformWorld> {
    Test::new()
}

/// Tests a plugin of world `update`. Its type has the name of the function with `#[update]`.
pub fn update<P: Update>() -> Test<P, UpdateWorld> {
    Test::new()
}

/// Tests a plugin of world `aggregate`.
pub fn aggregate<P: Aggregate>() -> Test<P, AggregateWorld> {
    Test::new()
}

/// Tests a plugin of world `cogroup`. Its type has the name of the function with `#[cogroup]`.
pub fn cogroup<P: Cogroup>() -> Test<P, CogroupWorld> {
    Test::new()
}

/// Tests a plugin of world `sink`. Its type has the attribute `#[sink]`.
pub fn sink<S: Sink>() -> Test<S, SinkWorld> {
    Test::new()
}

/// Tests a plugin of world `source`. Its type has the attribute `#[source]`.
pub fn source<S: Source>() -> Test<S, SourceWorld> {
    Test::new()
}

impl<P, W> Test<P, W> {
    fn new() -> Self {
        Test {
            config: Value::Object(Map::new()),
            inputs: Vec::new(),
            key: Schema::new(Vec::new()),
            batch: 0,
            states: Vec::new(),
            timers: Vec::new(),
            watermark: None,
            plugin: PhantomData,
        }
    }

    /// Sets the stage's config.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// Sets the stage's key columns, for example `"user text, day int64"`.
    ///
    /// # Panics
    /// If this is not a list of names and types.
    #[must_use]
    pub fn key(mut self, columns: &str) -> Self {
        self.key = json::schema(columns);
        self
    }

    /// Sets the columns of the stage's input, for example `"user text, amount int64"`. Only plugins that accept any columns need
    /// it. In world `cogroup`, call it once per input.
    ///
    /// # Panics
    /// If this is not a list of names and types.
    #[must_use]
    pub fn input(mut self, columns: &str) -> Self {
        self.inputs.push(json::schema(columns));
        self
    }

    fn described(&self) -> Stage {
        Stage::given(self.config.to_string(), self.inputs.clone(), self.key.clone())
    }

    /// Returns the stage of a call, whose input has the described columns.
    fn called(&self, description: &Description) -> Stage {
        Stage::given(self.config.to_string(), vec![description.input.clone()], self.key.clone())
    }

    fn context(&mut self) -> Context {
        self.batch += 1;
        let time = Timestamp(self.batch as i64 * 1_000_000);
        Context { batch: self.batch, time, watermark: self.watermark, timed_out: false }
    }
}

impl<P: Transform> Test<P, TransformWorld> {
    /// Returns the plugin's description.
    pub fn describe(&self) -> Result<Description, Error> {
        let stage = self.described();
        P::new(&stage)?.describe(&stage)
    }

    /// Processes one batch: an array of objects.
    pub fn run(mut self, rows: Value) -> Result<Run, Error> {
        let description = self.describe()?;
        let output =
            P::new(&self.called(&description))?.process(&self.context(), from_json(&description.input, &rows)?)?;
        Ok(Run { rows: to_json(&description.output, &output.rows)?, rejected: reasons(output.rejected) })
    }
}

impl<P: Update> Test<P, UpdateWorld> {
    /// Returns the plugin's description.
    pub fn describe(&self) -> Result<Description, Error> {
        let stage = self.described();
        P::new(&stage)?.describe(&stage)
    }

    /// Processes one batch: an array of objects with key columns. Keys are in the order of their first rows, followed by keys
    /// without rows whose timers are due. States and timers are kept for the next run. The time of the first run is second 1, of
    /// the next one second 2, and so on.
    pub fn run(&mut self, rows: Value) -> Result<Run, Error> {
        let groups = by_key(&self.key, &rows)?;
        self.call(groups, false)
    }

    /// Makes the last call for a key, an object, that was idle for the stage's timeout.
    pub fn time_out(&mut self, key: Value) -> Result<Run, Error> {
        self.call(vec![(json::object(&self.key, &key), Vec::new())], true)
    }

    /// Migrates states of another version, which had the columns of `Old`. Returns the new states; both are arrays of objects.
    pub fn migrate<Old: Row>(&self, version: &str, states: Value) -> Result<Value, Error>
    where
        P: Migrate,
    {
        let (description, schema) = (self.describe()?, row::schema::<Old>());
        let (version, states) = (version.to_owned(), from_json(&schema, &states)?);
        let stage = self.called(&description);
        let new = P::new(&stage)?.migrate(&stage, OldStates { version, schema, states })?;
        to_json(&description.state, &new)
    }

    /// Sets the watermark of the following runs, as in a stage with event time. Timers then use it.
    pub fn watermark(&mut self, watermark: Timestamp) {
        self.watermark = Some(watermark);
    }

    /// Returns the states: an array of objects with the columns of key and state.
    pub fn states(&self) -> Value {
        let merged = |(key, state): &(Value, Value)| json::merge(key.clone(), state.clone());
        self.states.iter().map(merged).collect()
    }

    /// Takes the due timers of each group. Adds groups for keys without rows.
    fn due(&mut self, now: i64, groups: &mut Vec<(Value, Vec<Value>)>) -> Vec<Vec<i64>> {
        let (due, wait): (Vec<_>, Vec<_>) = self.timers.drain(..).partition(|(_, at)| *at <= now);
        self.timers = wait;
        for (key, _) in &due {
            if groups.iter().all(|(other, _)| other != key) {
                groups.push((key.clone(), Vec::new()));
            }
        }
        let of = |key: &Value| {
            let mut times: Vec<i64> = due.iter().filter(|(own, _)| own == key).map(|(_, at)| *at).collect();
            times.sort_unstable();
            times
        };
        groups.iter().map(|(key, _)| of(key)).collect()
    }

    fn call(&mut self, mut groups: Vec<(Value, Vec<Value>)>, timed_out: bool) -> Result<Run, Error> {
        let description = self.describe()?;
        let stage = self.called(&description);
        let context = self.context();
        let now = self.watermark.unwrap_or(context.time).0;
        let due = self.due(now, &mut groups);
        let state_of = |key: &Value| self.states.iter().find(|(known, _)| known == key).map(|(_, state)| state.clone());
        let old: Vec<Option<Value>> = groups.iter().map(|(key, _)| state_of(key)).collect();
        let keys: Vec<Value> = groups.iter().map(|(key, _)| key.clone()).collect();
        let batch = Groups {
            ends: ends(groups.iter().map(|(_, rows)| rows.len())),
            keys: from_json(&self.key, &Value::Array(keys.clone()))?,
            rows: from_json(&description.input, &groups.iter().flat_map(|(_, rows)| rows.clone()).collect())?,
            known: bitmap(old.iter().map(Option::is_some)),
            timed_out: bitmap(keys.iter().map(|_| timed_out)),
            states: from_json(&description.state, &old.into_iter().map(Option::unwrap_or_default).collect())?,
        };
        timers::begin(&due);
        let updated = P::new(&stage)?.update(&stage, &context, batch);
        let asked = timers::end();
        let updated = updated?;
        for (group, at, is_set) in asked {
            let timer = (keys[group as usize].clone(), at);
            self.timers.retain(|other| *other != timer);
            self.timers.extend(is_set.then_some(timer));
        }
        let states = to_json(&description.state, &updated.states)?;
        self.states.retain(|(known, _)| !keys.contains(known));
        for (i, (key, state)) in keys.into_iter().zip(states.as_array().cloned().unwrap_or_default()).enumerate() {
            if crate::batch::bit(&updated.kept, i) && !timed_out {
                self.states.push((key, state));
            }
        }
        Ok(Run { rows: to_json(&description.output, &updated.output)?, rejected: reasons(updated.rejected) })
    }
}

impl<P: Cogroup> Test<P, CogroupWorld> {
    /// Returns the plugin's description.
    pub fn describe(&self) -> Result<cogroup::Description, Error> {
        let stage = self.described();
        P::new(&stage)?.describe(&stage)
    }

    /// Processes one batch: for each input, an array of objects with key columns. Keys are in the order of their first rows,
    /// those of the first input first.
    pub fn run(mut self, inputs: Value) -> Result<Run, Error> {
        let description = self.describe()?;
        let inputs = inputs.as_array().ok_or_else(|| Error::internal("inputs are an array of arrays of objects"))?;
        let grouped = inputs.iter().map(|rows| by_key(&self.key, rows)).collect::<Result<Vec<_>, _>>()?;
        let mut keys: Vec<Value> = Vec::new();
        for (key, _) in grouped.iter().flatten() {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        let input = |(schema, groups): (&Schema, &Vec<(Value, Vec<Value>)>)| {
            let rows_of = |key: &Value| groups.iter().find(|(own, _)| own == key).map(|(_, rows)| rows.clone());
            let rows: Vec<Vec<Value>> = keys.iter().map(|key| rows_of(key).unwrap_or_default()).collect();
            let ends = ends(rows.iter().map(Vec::len));
            Ok(cogroup::Grouped { rows: from_json(schema, &rows.into_iter().flatten().collect())?, ends })
        };
        let inputs = description.inputs.iter().zip(&grouped).map(input).collect::<Result<Vec<_>, Error>>()?;
        let rows_before = inputs.iter().scan(0, |sum, input| {
            let before = *sum;
            *sum += input.rows.rows() as u32;
            Some(before)
        });
        let rows_before: Vec<u32> = rows_before.collect();
        let groups = cogroup::Groups { keys: from_json(&self.key, &Value::Array(keys.clone()))?, inputs };
        let stage = Stage::given(self.config.to_string(), description.inputs.clone(), self.key.clone());
        let cogrouped = P::new(&stage)?.cogroup(&stage, &self.context(), groups)?;
        let rejected = cogrouped.rejected.into_iter().zip(rows_before).flat_map(|(rejected, before)| {
            reasons(rejected).into_iter().map(move |(row, reason)| (before + row, reason))
        });
        Ok(Run { rows: to_json(&description.output, &cogrouped.rows)?, rejected: rejected.collect() })
    }
}

impl<P: Aggregate> Test<P, AggregateWorld> {
    /// Returns the plugin's description.
    pub fn describe(&self) -> Result<Description, Error> {
        let stage = self.described();
        P::new(&stage)?.describe(&stage)
    }

    /// Aggregates an array of objects: lifts all rows, combines those of each key from first to last, and lowers. If the plugin
    /// has an inverse, the run also removes the first row of each key and adds it again with `combine`.
    pub fn run(mut self, rows: Value) -> Result<Run, Error> {
        let description = self.describe()?;
        let mut plugin = P::new(&self.called(&description))?;
        let context = self.context();
        let mut returned = Vec::new();
        for (key, rows) in by_key(&self.key, &rows)? {
            let lifted = plugin.lift(&context, from_json(&description.input, &Value::Array(rows))?)?;
            let parts = to_json(&description.state, &lifted)?;
            let part = |i: usize| from_json(&description.state, &Value::Array(vec![parts[i].clone()]));
            let mut whole = part(0)?;
            for i in 1..lifted.rows() {
                whole = plugin.combine(&context, whole, part(i)?)?;
            }
            if description.inverse && lifted.rows() > 1 {
                let rest = plugin.inverse(&context, whole, part(0)?)?;
                whole = plugin.combine(&context, part(0)?, rest)?;
            }
            let keys = from_json(&self.key, &Value::Array(vec![key.clone()]))?;
            let lowered = to_json(&description.output, &plugin.lower(&context, keys, whole)?)?;
            returned.push(json::merge(key, lowered[0].clone()));
        }
        Ok(Run { rows: Value::Array(returned), rejected: Vec::new() })
    }
}

/// Returns the rows of each key, with keys in the order of their first rows.
fn by_key(key: &Schema, rows: &Value) -> Result<Vec<(Value, Vec<Value>)>, Error> {
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for row in rows.as_array().ok_or_else(|| Error::internal("rows are an array of objects"))? {
        let own = json::object(key, row);
        match groups.iter_mut().find(|(other, _)| *other == own) {
            Some((_, rows)) => rows.push(row.clone()),
            None => groups.push((own, vec![row.clone()])),
        }
    }
    Ok(groups)
}

/// Returns the end of each group from its number of rows.
fn ends(rows: impl Iterator<Item = usize>) -> Vec<u8> {
    let mut end = 0u32;
    let ends = rows.flat_map(|rows| {
        end += rows as u32;
        end.to_le_bytes()
    });
    ends.collect()
}

fn bitmap(bits: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut writer = BitWriter::with_capacity(0, 0, &[]);
    bits.for_each(|bit| writer.push(bit));
    writer.into_bits()
}

fn reasons(rejected: Vec<Rejected>) -> Vec<(u32, String)> {
    rejected.into_iter().map(|rejected| (rejected.row, rejected.rejection.reason().to_owned())).collect()
}
