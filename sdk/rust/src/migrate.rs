//! World `update-migrating`: converts states of other versions of a plugin.

use crate::writer::Writer;
use crate::{Batch, Error, Row, Schema, Stage, Update, row};

/// A plugin of world `update` that migrates states of its other versions. `#[update(migrates_from = …)]` on a function implements
/// it for you. Implement it yourself on batches, and put `#[update]` on the `impl` block as well.
pub trait Migrate: Update {
    /// Called if another version of the plugin created the states, with other columns than this one describes. Row i of the result
    /// is the new state of the key whose old state is row i. An error reports that the states cannot be converted.
    fn migrate(&mut self, stage: &Stage, old: OldStates) -> Result<Batch, Error>;
}

/// States of another version of the plugin.
#[derive(Clone, Debug)]
pub struct OldStates {
    /// The other version. Empty if unknown.
    pub version: String,
    /// Columns of the states.
    pub schema: Schema,
    /// The states, one row per key.
    pub states: Batch,
}

impl OldStates {
    /// Returns whether the states have the columns of this row type.
    pub fn are<R: Row>(&self) -> bool {
        self.schema == row::schema::<R>()
    }

    /// Returns the error for states with none of these schemas; called by the code that `#[update]` generates.
    #[doc(hidden)]
    pub fn unknown(&self, known: &[Schema]) -> Error {
        let known = known.iter().map(|schema| format!("({schema})")).collect::<Vec<_>>().join(" or ");
        let OldStates { version, schema, .. } = self;
        Error::internal(format!("states of version {version} have the columns ({schema}); expected {known}"))
    }
}

/// Converts each old state with a function that gets all of them and one; called by the code that `#[update]` generates.
pub fn each<O: Row, N: Row>(
    states: &Batch,
    mut function: impl for<'x> FnMut(&'x Batch, O::Of<'x>) -> Result<N::Of<'x>, Error>,
) -> Result<Batch, Error> {
    let reader = states.reader::<O>()?;
    let mut new = N::Writer::with_capacity(states.rows(), states.bytes(), &[]);
    for row in 0..states.rows() {
        N::write(&mut new, function(states, O::read(&reader, row))?);
    }
    let mut columns = Vec::new();
    new.finish(&mut columns)?;
    Ok(Batch::new(states.rows(), columns))
}
