//! World `update`: state by key, held by the host.

use crate::batch::bit;
use crate::writer::{BitWriter, Writer};
use crate::{Append, Batch, Context, Description, Error, Rejected, Rejection, Row, Stage, timers};
use std::marker::PhantomData;

/// A plugin of world `update` that processes batches. `#[update]` on a function implements it for you. Implement it yourself for
/// plugins that accept any columns, and put `#[update]` on the `impl` block.
pub trait Update: Sized + 'static {
    /// Reads the config. Called once per instance, before everything else.
    fn new(stage: &Stage) -> Result<Self, Error>;
    /// Called when a job is loaded: describes output and state, or reports that config, input or key are unsuitable.
    fn describe(&self, stage: &Stage) -> Result<Description, Error>;
    /// Called with groups of a batch. Every key occurs at most once per batch.
    fn update(&mut self, stage: &Stage, context: &Context, groups: Groups) -> Result<Updated, Error>;
}

/// Rows grouped by key, and the state of each key.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The key columns, one row per group.
    pub keys: Batch,
    /// The rows of the first group first. Within a group, they are in the order of arrival.
    pub rows: Batch,
    /// The old states, one row per group. The values of a key without a state are undefined.
    pub states: Batch,
    pub(crate) ends: Vec<u8>,
    pub(crate) known: Vec<u8>,
    pub(crate) timed_out: Vec<u8>,
}

impl Groups {
    /// Returns the end of a group's rows, which start at the end of the previous group.
    pub fn end(&self, group: usize) -> usize {
        crate::batch::offset(&self.ends, group)
    }

    /// Returns whether the key of a group had a state.
    pub fn known(&self, group: usize) -> bool {
        bit(&self.known, group)
    }

    /// Returns whether this is the last call for a group's idle key.
    pub fn timed_out(&self, group: usize) -> bool {
        bit(&self.timed_out, group)
    }
}

/// Result of a call in world `update`.
pub struct Updated {
    /// The new states, one row per group.
    pub states: Batch,
    /// One bit per group: set if the new state is kept, clear if the key is removed.
    pub(crate) kept: Vec<u8>,
    /// The output rows.
    pub output: Batch,
    /// The rejected rows.
    pub rejected: Vec<Rejected>,
}

/// The rows of one key in a batch, in the order of arrival. Empty if the key is called without rows (`on = "all"`, its timeout or
/// a timer; in world `cogroup`, rows in another input). `Rows` alone, without a row type, accepts any input, and its rows can only
/// be counted.
pub struct Rows<'x, R: Row = ()> {
    reader: R::Reader<'x>,
    next: usize,
    end: usize,
    /// Rows to skip, in order; see [`Batch::missing`].
    skip: &'x [Rejected],
    row: PhantomData<R>,
}

impl<'x, R: Row> Rows<'x, R> {
    pub(crate) fn new(reader: R::Reader<'x>, start: usize, end: usize, skip: &'x [Rejected]) -> Rows<'x, R> {
        Rows { reader, next: start, end, skip, row: PhantomData }
    }
}

impl<'x, R: Row> Iterator for Rows<'x, R> {
    type Item = R::Of<'x>;

    #[inline]
    fn next(&mut self) -> Option<R::Of<'x>> {
        while self.next < self.end {
            let row = self.next;
            self.next += 1;
            match self.skip.split_first() {
                Some((first, rest)) if first.row as usize == row => self.skip = rest,
                _ => return Some(R::read(&self.reader, row)),
            }
        }
        None
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next).saturating_sub(self.skip.len());
        (left, Some(left))
    }
}

impl<R: Row> ExactSizeIterator for Rows<'_, R> {}

/// New state of a key, returned by a function.
type NewState<R> = Result<Option<R>, Rejection>;

/// Calls a function for each group. Called by the code that `#[update]` generates. If the function rejects, all rows of the group
/// are rejected, the state stays unchanged and nothing is emitted.
#[inline]
pub fn each<K: Row, I: Row, S, O: Append>(
    stage: &Stage,
    context: &Context,
    groups: Groups,
    mut function: impl for<'x> FnMut(K::Of<'x>, Rows<'x, I>, Option<S::Of<'x>>, &Context, &mut O) -> NewState<S::Of<'x>>,
) -> Result<Updated, Error>
where
    S: Row,
{
    each_timed::<K, I, S, O, ()>(stage, context, groups, |key, rows, state, context, out, ()| {
        function(key, rows, state, context, out)
    })
}

/// Like [`each`], for a function that also receives its key's timers, [`crate::Timers`]. If it rejects, no timer is changed.
#[inline]
pub fn each_timed<K: Row, I: Row, S, O: Append, T: timers::Uses>(
    stage: &Stage,
    context: &Context,
    groups: Groups,
    mut function: impl for<'x> FnMut(
        K::Of<'x>,
        Rows<'x, I>,
        Option<S::Of<'x>>,
        &Context,
        &mut O,
        &mut T,
    ) -> NewState<S::Of<'x>>,
) -> Result<Updated, Error>
where
    S: Row,
{
    let count = groups.keys.rows();
    let (keys, rows, states) = (groups.keys.reader::<K>()?, groups.rows.reader::<I>()?, groups.states.reader::<S>()?);
    let mut rejected = groups.rows.missing::<I>();
    let missing = rejected.clone();
    let mut skip = missing.as_slice();
    let mut context = context.clone();
    let mut out = O::with_capacity(count, groups.rows.bytes().min(groups.keys.bytes()));
    let mut new_states = S::Writer::with_capacity(count, groups.states.bytes(), &[]);
    let mut kept = BitWriter::with_capacity(count, 0, &[]);
    let mut timers = T::of_call();
    let mut start = 0;
    for group in 0..count {
        let end = groups.end(group);
        if end < start || end > groups.rows.rows() {
            return Err(Error::internal(format!("group {group} ends at row {end}, which is out of order")));
        }
        let own = skip.partition_point(|rejected| (rejected.row as usize) < end);
        let (own, rest) = skip.split_at(own);
        skip = rest;
        context.timed_out = groups.timed_out(group);
        out.begin(group as u32);
        timers.begin(group);
        let before = out.rows();
        let known = groups.known(group);
        let state = known.then(|| S::read(&states, group));
        let own_rows = Rows::new(rows, start, end, own);
        let new = function(K::read(&keys, group), own_rows, state, &context, &mut out, &mut timers);
        timers.end(new.is_ok());
        let new = match new {
            Ok(new) => new,
            Err(rejection) => {
                out.truncate(before);
                let others = (start..end).filter(|&row| own.iter().all(|rejected| rejected.row as usize != row));
                rejected.extend(others.map(|row| Rejected { row: row as u32, rejection: rejection.clone() }));
                known.then(|| S::read(&states, group))
            }
        };
        kept.push(new.is_some());
        match new {
            Some(state) => S::write(&mut new_states, state),
            None => S::write_empty(&mut new_states),
        }
        start = end;
    }
    rejected.sort_by_key(|rejected| rejected.row);
    let mut columns = Vec::new();
    new_states.finish(&mut columns)?;
    let output = out.finish(stage, groups.keys)?;
    Ok(Updated { states: Batch::new(count, columns), kept: kept.into_bits(), output, rejected })
}
