//! World `aggregate`: reduces rows with lift, combine and lower.

use crate::{Batch, Context, Description, Error, Out, Rejection, Row, Stage};

/// A plugin of world `aggregate` that processes batches. `#[aggregate]` on an `impl` block with functions on rows implements it for
/// you. Implement it yourself for plugins that accept any columns, and put `#[aggregate]` on `impl Aggregate for …`.
pub trait Aggregate: Sized + 'static {
    /// Reads the config. Called once per instance, before everything else.
    fn new(stage: &Stage) -> Result<Self, Error>;
    /// Called when a job is loaded: describes output and accumulator, or reports that config or input are unsuitable.
    fn describe(&self, stage: &Stage) -> Result<Description, Error>;
    /// Returns an accumulator for each row.
    fn lift(&mut self, context: &Context, rows: Batch) -> Result<Batch, Error>;
    /// Combines pairs of accumulators. Must be associative.
    fn combine(&mut self, context: &Context, left: Batch, right: Batch) -> Result<Batch, Error>;
    /// Returns the output row of each accumulator. `keys` has one row per accumulator, and no columns if the stage has no key.
    fn lower(&mut self, context: &Context, keys: Batch, accumulators: Batch) -> Result<Batch, Error>;
    /// Removes accumulators in pairs: `inverse(combine(a, b), a) = b`. Only called if the description says `inverse`.
    fn inverse(&mut self, _context: &Context, _whole: Batch, _part: Batch) -> Result<Batch, Error> {
        Err(Error::internal("this aggregate has no inverse"))
    }
}

/// Calls a function for each row. Called by the code that `#[aggregate]` generates. It pushes one row each time.
#[inline]
pub fn each<I: Row, O: Row>(
    rows: &Batch,
    mut function: impl for<'x> FnMut(I::Of<'x>, &mut Out<'_, O>) -> Result<(), Rejection>,
) -> Result<Batch, Error> {
    let reader = rows.reader::<I>()?;
    if let Some(missing) = rows.missing::<I>().first() {
        return Err(Error::input(format!("row {}: {}", missing.row, missing.rejection.reason())));
    }
    let mut out = Out::new(rows.rows(), rows.bytes(), rows.longest());
    for row in 0..rows.rows() {
        function(I::read(&reader, row), &mut out).map_err(|rejection| failed(row, &rejection))?;
    }
    out.into_batch()
}

/// Calls a function for each pair of rows. Called by the code that `#[aggregate]` generates. It pushes one row each time.
#[inline]
pub fn pairs<L: Row, R: Row, O: Row>(
    left: &Batch,
    right: &Batch,
    mut function: impl for<'x> FnMut(L::Of<'x>, R::Of<'x>, &mut Out<'_, O>) -> Result<(), Rejection>,
) -> Result<Batch, Error> {
    if left.rows() != right.rows() {
        return Err(Error::internal(format!("row counts differ: {} and {}", left.rows(), right.rows())));
    }
    let (lefts, rights) = (left.reader::<L>()?, right.reader::<R>()?);
    let mut out = Out::new(left.rows(), left.bytes(), left.longest());
    for row in 0..left.rows() {
        function(L::read(&lefts, row), R::read(&rights, row), &mut out).map_err(|rejection| failed(row, &rejection))?;
    }
    out.into_batch()
}

fn failed(row: usize, rejection: &Rejection) -> Error {
    Error::internal(format!("row {row}: {}", rejection.reason()))
}
