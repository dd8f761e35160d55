//! Runs plugins in a plain `cargo test`, without a host: rows go in and come out as JSON.
//!
//! Timestamps are numbers of microseconds, binary is text of hexadecimal digits. `log` writes to standard error,
//! `counter` does nothing, `files` reads from `testdata/`.

mod json;

use crate::update::Groups;
use crate::writer::{BitWriter, Writer};
use crate::{Aggregate, Context, Description, Error, Rejected, Schema, Stage, Timestamp, Transform, Update};
use json::{from_json, to_json};
use serde_json::{Map, Value};
use std::marker::PhantomData;

/// What a run gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The rows returned: an array of objects.
    pub rows: Value,
    /// The rows refused: their index in the rows passed in (for world `update`: sorted by key), and the reason.
    pub rejected: Vec<(u32, String)>,
}

/// A plugin under test: how its stage uses it. Made by [`transform`], [`update`] and [`aggregate`].
pub struct Test<P, W> {
    config: Value,
    input: Schema,
    key: Schema,
    /// The batch that ran last.
    batch: u64,
    /// World `update`: the state of each key.
    states: Vec<(Value, Value)>,
    plugin: PhantomData<(P, W)>,
}

/// World `transform`, as a mark on [`Test`].
pub struct TransformWorld;
/// World `update`, as a mark on [`Test`].
pub struct UpdateWorld;
/// World `aggregate`, as a mark on [`Test`].
pub struct AggregateWorld;

/// Tests a plugin of world `transform`: the name of a function with `#[transform]` is its type.
pub fn transform<P: Transform>() -> Test<P, TransformWorld> {
    Test::new()
}

/// Tests a plugin of world `update`: the name of a function with `#[update]` is its type.
pub fn update<P: Update>() -> Test<P, UpdateWorld> {
    Test::new()
}

/// Tests a plugin of world `aggregate`.
pub fn aggregate<P: Aggregate>() -> Test<P, AggregateWorld> {
    Test::new()
}

impl<P, W> Test<P, W> {
    fn new() -> Self {
        let none = Schema::new(Vec::new());
        Test {
            config: Value::Object(Map::new()),
            input: none.clone(),
            key: none,
            batch: 0,
            states: Vec::new(),
            plugin: PhantomData,
        }
    }

    /// The stage's config.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// The stage's key columns, as in `"user text, day int64"`.
    ///
    /// # Panics
    /// Where this is no list of names and types.
    #[must_use]
    pub fn key(mut self, columns: &str) -> Self {
        self.key = json::schema(columns);
        self
    }

    /// The columns of the stage's input, as in `"user text, amount int64"`; only plugins that work on any input need it.
    ///
    /// # Panics
    /// Where this is no list of names and types.
    #[must_use]
    pub fn input(mut self, columns: &str) -> Self {
        self.input = json::schema(columns);
        self
    }

    fn described(&self) -> Stage {
        Stage::given(self.config.to_string(), self.input.clone(), self.key.clone())
    }

    /// The stage of a call: its input is what the description names.
    fn called(&self, description: &Description) -> Stage {
        Stage::given(self.config.to_string(), description.input.clone(), self.key.clone())
    }

    fn context(&mut self) -> Context {
        self.batch += 1;
        Context { batch: self.batch, time: Timestamp(self.batch as i64 * 1_000_000), watermark: None, timed_out: false }
    }
}

impl<P: Transform> Test<P, TransformWorld> {
    /// What the plugin says of itself.
    pub fn describe(&self) -> Result<Description, Error> {
        let stage = self.described();
        P::new(&stage)?.describe(&stage)
    }

    /// Runs one batch: an array of objects.
    pub fn run(mut self, rows: Value) -> Result<Run, Error> {
        let description = self.describe()?;
        let output =
            P::new(&self.called(&description))?.process(&self.context(), from_json(&description.input, &rows)?)?;
        Ok(Run { rows: to_json(&description.output, &output.rows)?, rejected: reasons(output.rejected) })
    }
}

impl<P: Update> Test<P, UpdateWorld> {
    /// What the plugin says of itself.
    pub fn describe(&self) -> Result<Description, Error> {
        let stage = self.described();
        P::new(&stage)?.describe(&stage)
    }

    /// Runs one batch: an array of objects with the key columns and the others. Keys come in the order of their first
    /// rows; states are kept for the next run.
    pub fn run(&mut self, rows: Value) -> Result<Run, Error> {
        let groups = by_key(&self.key, &rows)?;
        self.call(groups, false)
    }

    /// Runs the last call of a key, an object, that was idle for too long.
    pub fn time_out(&mut self, key: Value) -> Result<Run, Error> {
        self.call(vec![(json::object(&self.key, &key), Vec::new())], true)
    }

    /// The states: an array of objects with the columns of key and state.
    pub fn states(&self) -> Value {
        let merged = |(key, state): &(Value, Value)| json::merge(key.clone(), state.clone());
        self.states.iter().map(merged).collect()
    }

    fn call(&mut self, groups: Vec<(Value, Vec<Value>)>, timed_out: bool) -> Result<Run, Error> {
        let description = self.describe()?;
        let stage = self.called(&description);
        let state_of = |key: &Value| self.states.iter().find(|(known, _)| known == key).map(|(_, state)| state.clone());
        let old: Vec<Option<Value>> = groups.iter().map(|(key, _)| state_of(key)).collect();
        let keys: Vec<Value> = groups.iter().map(|(key, _)| key.clone()).collect();
        let mut end = 0u32;
        let ends = groups.iter().flat_map(|(_, rows)| {
            end += rows.len() as u32;
            end.to_le_bytes()
        });
        let batch = Groups {
            ends: ends.collect(),
            keys: from_json(&self.key, &Value::Array(keys.clone()))?,
            rows: from_json(&description.input, &groups.iter().flat_map(|(_, rows)| rows.clone()).collect())?,
            known: bitmap(old.iter().map(Option::is_some)),
            timed_out: bitmap(keys.iter().map(|_| timed_out)),
            states: from_json(&description.state, &old.into_iter().map(Option::unwrap_or_default).collect())?,
        };
        let updated = P::new(&stage)?.update(&stage, &self.context(), batch)?;
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

impl<P: Aggregate> Test<P, AggregateWorld> {
    /// What the plugin says of itself.
    pub fn describe(&self) -> Result<Description, Error> {
        let stage = self.described();
        P::new(&stage)?.describe(&stage)
    }

    /// Aggregates an array of objects: lifts all rows, combines those of each key from first to last, lowers. A plugin
    /// with an inverse also takes out the first row of each key again and puts it back by `combine`.
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

/// The rows of each key, keys in the order of their first rows.
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

fn bitmap(bits: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut writer = BitWriter::with_capacity(0, 0, &[]);
    bits.for_each(|bit| writer.push(bit));
    writer.into_bits()
}

fn reasons(rejected: Vec<Rejected>) -> Vec<(u32, String)> {
    rejected.into_iter().map(|rejected| (rejected.row, rejected.rejection.reason().to_owned())).collect()
}
