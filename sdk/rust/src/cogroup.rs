//! World `cogroup`: several inputs, grouped by key.

use crate::update::Rows;
use crate::{Append, Batch, Context, Error, Rejected, Rejection, Row, Schema, Stage};

pub use crate::bindings::cogroup::exports::millstream::plugin::cogrouper::Description;

/// A plugin of world `cogroup` that processes batches. `#[cogroup]` on a function implements it for you. Implement it yourself for
/// plugins that accept any columns, and put `#[cogroup]` on the `impl` block.
pub trait Cogroup: Sized + 'static {
    /// Reads the config. Called once per instance, before everything else.
    fn new(stage: &Stage) -> Result<Self, Error>;
    /// Called when a job is loaded. Describes the inputs and the output, or reports that config, inputs or key are unsuitable.
    fn describe(&self, stage: &Stage) -> Result<Description, Error>;
    /// Called with the groups of a batch or a window. Every key occurs once.
    fn cogroup(&mut self, stage: &Stage, context: &Context, groups: Groups) -> Result<Cogrouped, Error>;
}

impl Description {
    /// Returns a description without columns; see [`crate::Description::new`].
    pub fn new(name: &str, version: &str, doc: &str) -> Description {
        Description {
            name: name.into(),
            version: version.into(),
            doc: doc.into(),
            inputs: Vec::new(),
            output: Schema::new(Vec::new()),
            key: None,
            config_schema: String::new(),
        }
    }
}

/// Rows grouped by key. A group is a key that has rows in at least one input.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The key columns, one row per group.
    pub keys: Batch,
    /// The inputs, in the order of the stage's inputs.
    pub inputs: Vec<Grouped>,
}

/// The rows of one input.
#[derive(Clone, Debug)]
pub struct Grouped {
    /// The rows of the first group first. Within a group, they are in the order of arrival.
    pub rows: Batch,
    pub(crate) ends: Vec<u8>,
}

impl Grouped {
    /// Returns the end of a group's rows, which start at the end of the previous group.
    pub fn end(&self, group: usize) -> usize {
        crate::batch::offset(&self.ends, group)
    }

    fn start(&self, group: usize) -> usize {
        if group == 0 { 0 } else { self.end(group - 1) }
    }
}

/// Result of a call in world `cogroup`.
pub struct Cogrouped {
    /// The output rows.
    pub rows: Batch,
    /// For each input, the rejected rows.
    pub rejected: Vec<Vec<Rejected>>,
}

/// One input as rows of a type, for the code that `#[cogroup]` generates.
#[doc(hidden)]
pub struct Input<'x, R: Row> {
    reader: R::Reader<'x>,
    grouped: &'x Grouped,
    missing: &'x [Rejected],
}

impl<'x, R: Row> Input<'x, R> {
    /// Returns the input with this index. `missing` has the rows of each input that cannot be read as this type.
    pub fn new(inputs: &'x [Grouped], missing: &'x [Vec<Rejected>], place: usize) -> Result<Self, Error> {
        let (Some(grouped), Some(missing)) = (inputs.get(place), missing.get(place)) else {
            return Err(Error::internal(format!("{} inputs where {} are needed", inputs.len(), place + 1)));
        };
        Ok(Input { reader: grouped.rows.reader::<R>()?, grouped, missing })
    }

    /// Returns the rows of a group.
    #[inline]
    pub fn rows(&self, group: usize) -> Rows<'x, R> {
        let (start, end) = (self.grouped.start(group), self.grouped.end(group));
        Rows::new(self.reader, start, end, within(self.missing, start, end))
    }
}

/// Returns the rows of an input with a null in a field without `Option`.
#[doc(hidden)]
pub fn missing<R: Row>(inputs: &[Grouped], place: usize) -> Vec<Rejected> {
    inputs.get(place).map(|grouped| grouped.rows.missing::<R>()).unwrap_or_default()
}

/// Returns the rejected rows from `start` to `end`. `rejected` must be in order.
fn within(rejected: &[Rejected], start: usize, end: usize) -> &[Rejected] {
    let first = rejected.partition_point(|rejected| (rejected.row as usize) < start);
    let rest = rejected.get(first..).unwrap_or_default();
    let count = rest.partition_point(|rejected| (rejected.row as usize) < end);
    rest.get(..count).unwrap_or_default()
}

/// Calls a function for each group. Called by the code that `#[cogroup]` generates, which builds the output from the result:
/// rows, and the rejected rows of each input. If the function rejects, the rows of the group in all inputs are rejected, and the
/// rows that it pushed are removed.
#[doc(hidden)]
pub fn each<'x, K: Row, O: Append>(
    keys: &'x Batch,
    inputs: &[Grouped],
    missing: &[Vec<Rejected>],
    mut function: impl FnMut(K::Of<'x>, usize, &mut O) -> Result<(), Rejection>,
) -> Result<(O, Vec<Vec<Rejected>>), Error> {
    let count = keys.rows();
    for (place, input) in inputs.iter().enumerate() {
        if let Some(group) = (0..count).find(|&g| input.end(g) < input.start(g) || input.end(g) > input.rows.rows()) {
            return Err(Error::internal(format!("input {place}: group {group} ends out of order")));
        }
    }
    let reader = keys.reader::<K>()?;
    let bytes = inputs.iter().map(|input| input.rows.bytes()).sum::<usize>().min(keys.bytes());
    let mut rejected = missing.to_vec();
    let mut out = O::with_capacity(count, bytes);
    for group in 0..count {
        out.begin(group as u32);
        let before = out.rows();
        let Err(rejection) = function(K::read(&reader, group), group, &mut out) else { continue };
        out.truncate(before);
        for (place, input) in inputs.iter().enumerate() {
            let (start, end) = (input.start(group), input.end(group));
            let own = missing.get(place).map(|missing| within(missing, start, end)).unwrap_or_default();
            let others = (start..end).filter(|&row| own.iter().all(|rejected| rejected.row as usize != row));
            if let Some(rejected) = rejected.get_mut(place) {
                rejected.extend(others.map(|row| Rejected { row: row as u32, rejection: rejection.clone() }));
            }
        }
    }
    rejected.iter_mut().for_each(|rejected| rejected.sort_by_key(|rejected| rejected.row));
    Ok((out, rejected))
}
