//! World `update-migrating`: states of other versions of a plugin.

use crate::writer::Writer;
use crate::{Batch, Error, Row, Schema, Stage, Update, row};

/// A plugin of world `update` that takes over states of its other versions. `#[update(migrates_from = …)]` on a function
/// implements it for you; implement it yourself on whole batches, and put `#[update]` on the `impl` block as well.
pub trait Migrate: Update {
    /// Called where another version of the plugin made the states, and with other columns than this one describes. Row i of
    /// what it returns is the new state of the key whose old state is row i. An error says that they cannot be taken over.
    fn migrate(&mut self, stage: &Stage, old: OldStates) -> Result<Batch, Error>;
}

/// States that another version of the plugin made.
#[derive(Clone, Debug)]
pub struct OldStates {
    /// That version; empty where it is not known.
    pub version: String,
    /// Their columns.
    pub schema: Schema,
    /// The states, a row a key.
    pub states: Batch,
}

impl OldStates {
    /// Whether they have the columns of this row type.
    pub fn are<R: Row>(&self) -> bool {
        self.schema == row::schema::<R>()
    }

    /// The error where they have the columns of none of these; called by the code that `#[update]` writes.
    #[doc(hidden)]
    pub fn unknown(&self, known: &[Schema]) -> Error {
        let known = known.iter().map(|schema| format!("({schema})")).collect::<Vec<_>>().join(" or ");
        let OldStates { version, schema, .. } = self;
        Error::internal(format!(
            "states of version {version} have the columns ({schema}); it takes over those with {known}"
        ))
    }
}

/// Makes a new state of each old one, by a function that gets all of them and one; called by the code that `#[update]` writes.
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
