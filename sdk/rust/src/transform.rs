//! World `transform`: rows in, rows out.

use crate::{Append, Batch, Context, Description, Error, Out, Rejected, Rejection, Row, Stage};

/// A plugin of world `transform` on whole batches. `#[transform]` on a function implements it for you; implement it
/// yourself for plugins that work on any columns, and put `#[transform]` on the `impl` block.
pub trait Transform: Sized + 'static {
    /// Reads the config. Called once an instance, before everything else.
    fn new(stage: &Stage) -> Result<Self, Error>;
    /// Called when a job is loaded: says what is read and what is returned, or that config or input do not fit.
    fn describe(&self, stage: &Stage) -> Result<Description, Error>;
    /// Called with the rows of a batch that one worker holds, or a part of them.
    fn process(&mut self, context: &Context, rows: Batch) -> Result<Output, Error>;
}

/// What a call of world `transform` returns.
pub struct Output {
    /// Any number of rows, with the columns that `describe` said.
    pub rows: Batch,
    /// The rows of the input that are refused.
    pub rejected: Vec<Rejected>,
}

/// Rows for which room is made because the input has as much text.
const ROWS_RESERVED_MAX: usize = 1 << 18;

/// Calls a function for each row; called by the code that `#[transform]` writes. Rows that the function has pushed
/// before it refuses its row are taken back.
#[inline]
pub fn each<I: Row, O: Row>(
    rows: &Batch,
    mut function: impl for<'x> FnMut(I::Of<'x>, &mut Out<'_, O>) -> Result<(), Rejection>,
) -> Result<Output, Error> {
    let reader = rows.reader::<I>()?;
    let mut rejected = rows.missing::<I>();
    // A word of text is seldom shorter than four bytes with what separates it. Room that is not used costs nothing.
    let room = rows.rows().max((rows.bytes() / 4).min(ROWS_RESERVED_MAX));
    let mut out = Out::<O>::new(room, rows.bytes(), rows.longest());
    let mut skip = rejected.clone().into_iter().map(|rejected| rejected.row as usize).peekable();
    for row in 0..rows.rows() {
        if skip.next_if_eq(&row).is_some() {
            continue;
        }
        let before = out.rows();
        if let Err(rejection) = function(I::read(&reader, row), &mut out) {
            out.truncate(before);
            rejected.push(Rejected { row: row as u32, rejection });
        }
    }
    rejected.sort_by_key(|rejected| rejected.row);
    Ok(Output { rows: out.into_batch()?, rejected })
}
