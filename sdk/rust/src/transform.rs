//! World `transform`: rows in, rows out.

use crate::{Append, Batch, Context, Description, Error, Out, Rejected, Rejection, Row, Stage};

/// A plugin of world `transform` that processes batches. `#[transform]` on a function implements it for you. Implement it yourself
/// for plugins that accept any columns, and put `#[transform]` on the `impl` block.
pub trait Transform: Sized + 'static {
    /// Reads the config. Called once per instance, before everything else.
    fn new(stage: &Stage) -> Result<Self, Error>;
    /// Called when a job is loaded. Describes input and output, or reports that config or input are unsuitable.
    fn describe(&self, stage: &Stage) -> Result<Description, Error>;
    /// Called with the rows of a batch in one worker, or with a part of them.
    fn process(&mut self, context: &Context, rows: Batch) -> Result<Output, Error>;
}

/// Result of a call in world `transform`.
pub struct Output {
    /// The output rows, with the columns from `describe`.
    pub rows: Batch,
    /// The rejected rows of the input.
    pub rejected: Vec<Rejected>,
}

/// Maximum rows that are reserved because of the amount of text in the input.
const ROWS_RESERVED_MAX: usize = 1 << 18;

/// Calls a function for each row. Called by the code that `#[transform]` generates. If the function rejects its row, the rows that
/// it pushed are removed.
#[inline]
pub fn each<I: Row, O: Row>(
    rows: &Batch,
    mut function: impl for<'x> FnMut(I::Of<'x>, &mut Out<'_, O>) -> Result<(), Rejection>,
) -> Result<Output, Error> {
    let reader = rows.reader::<I>()?;
    let mut rejected = rows.missing::<I>();
    // A word and its separator seldom have less than four bytes. Unused reserved memory costs nothing.
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
