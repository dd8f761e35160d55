//! The open sessions of the keys that a worker owns, with their accumulators: a state table, and where its rows are by key
//! and by end.

use super::{Gap, Session, SessionPart};
use crate::batch::group::Grouped;
use crate::batch::group::sort_by_rank;
use crate::batch::keys::Keys;
use crate::batch::types::{ColumnType, timestamps};
use crate::error::{Error, Result};
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// See the module. Sessions of one key never have the same start.
pub struct OpenSessions {
    gap: Gap,
    keys: usize,
    table: StateTable,
    /// The open sessions, by key and start.
    by_key: HashMap<Box<[u8]>, BTreeMap<i64, OpenSession>>,
    ends: BTreeSet<(i64, Slot)>,
    /// All open sessions by their start.
    starts: BTreeSet<(i64, Slot)>,
}

#[derive(Clone, Copy)]
struct OpenSession {
    session: Session,
    slot: Slot,
}

/// Sessions that got rows.
#[derive(Default)]
pub struct Touched {
    /// By row: a place in `sessions`, and the run of rows that it is in; `None`: the row is late.
    pub of_row: Vec<Option<(usize, usize)>>,
    /// The sessions; those of a key stand together.
    pub sessions: Vec<TouchedSession>,
    /// How many runs of rows there are.
    pub runs: usize,
}

/// A session that got rows.
pub struct TouchedSession {
    /// A row with its key.
    pub row: u32,
    /// As it is now.
    pub session: Session,
    /// What it is made of: slots of sessions, and runs of rows.
    pub parts: Vec<SessionPart<Slot>>,
    /// The starts of the sessions among these.
    starts: Vec<i64>,
}

/// Sessions as they are put out: in the order of their ends, then of their starts, then of key hashes.
pub struct ClosedSessions {
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// First and last times.
    pub sessions: Vec<Session>,
    /// The accumulators.
    pub accumulators: RecordBatch,
}

/// The column of a session's start, which tells the sessions of a key apart.
pub fn start_field() -> Field {
    Field::new("millstream_start", ColumnType::Timestamp.arrow(), false)
}

/// The columns of a session's state: the time of its last row, then its accumulators.
pub fn state_schema(accumulators: &Schema) -> SchemaRef {
    let last = Arc::new(Field::new("millstream_last", ColumnType::Timestamp.arrow(), false));
    Arc::new(Schema::new([last].into_iter().chain(accumulators.fields().iter().cloned()).collect::<Vec<_>>()))
}

impl OpenSessions {
    /// No session is open yet.
    pub fn new(key: &Schema, accumulators: &Schema, gap: Gap) -> Result<OpenSessions> {
        let fields = key.fields().iter().cloned().chain([Arc::new(start_field())]).collect();
        let table = StateTable::new(fields, state_schema(accumulators), None).map_err(Error::arrow)?;
        let keys = key.fields().len();
        Ok(OpenSessions { gap, keys, table, by_key: HashMap::new(), ends: BTreeSet::new(), starts: BTreeSet::new() })
    }

    /// The table, to restore it and to save its changes.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// The table was restored: finds its sessions.
    pub fn restored(&mut self) -> Result<()> {
        let slots: Vec<Slot> = self.table.all().collect();
        let found = self.results_of(&slots)?;
        let encoded = Keys::encode(&found.keys, slots.len()).map_err(Error::arrow)?;
        for (row, (session, slot)) in found.sessions.into_iter().zip(slots).enumerate() {
            self.insert(encoded.view().get(row), OpenSession { session, slot });
        }
        Ok(())
    }

    fn insert(&mut self, key: &[u8], open: OpenSession) {
        self.ends.insert((self.gap.end(open.session), open.slot));
        self.starts.insert((open.session.start_us, open.slot));
        let sessions = match self.by_key.get_mut(key) {
            Some(sessions) => sessions,
            None => self.by_key.entry(key.into()).or_default(),
        };
        sessions.insert(open.session.start_us, open);
    }

    fn forget(&mut self, key: &[u8], starts: &[i64]) {
        let Some(sessions) = self.by_key.get_mut(key) else { return };
        for gone in starts.iter().filter_map(|start| sessions.remove(start)) {
            self.ends.remove(&(self.gap.end(gone.session), gone.slot));
            self.starts.remove(&(gone.session.start_us, gone.slot));
        }
        if sessions.is_empty() {
            self.by_key.remove(key);
        }
    }

    /// Finds the sessions of rows, of which `keys` are the encoded keys and `grouped` the groups of equal ones, in the
    /// order in which they came. `watermark`: that before the batch.
    pub fn assign(&self, keys: &Keys, grouped: &Grouped, times: &[i64], watermark: Option<i64>) -> Touched {
        let (ends, sorted) = sort_by_rank(grouped.of_row.iter().map(|group| *group as u32), grouped.count());
        let mut touched = Touched { of_row: vec![None; times.len()], ..Touched::default() };
        let mut start = 0;
        for (first, end) in grouped.first_rows.iter().zip(ends) {
            let rows = sorted.get(start as usize..end as usize).unwrap_or_default();
            start = end;
            if rows.is_empty() {
                continue;
            }
            let open = self.by_key.get(keys.view().get(*first as usize));
            let open: Vec<OpenSession> = open.into_iter().flat_map(BTreeMap::values).copied().collect();
            let sessions: Vec<Session> = open.iter().map(|open| open.session).collect();
            let assigned = self.gap.assign(&sessions, rows.iter().map(|row| times[*row as usize]), watermark);
            let (before, runs) = (touched.sessions.len(), touched.runs);
            for (row, of) in rows.iter().zip(assigned.of_row) {
                touched.of_row[*row as usize] = of.map(|(session, run)| (before + session, runs + run));
            }
            touched.runs += assigned.runs;
            let part = |part: &SessionPart<usize>| match part {
                SessionPart::Open(place) => SessionPart::Open(open[*place].slot),
                SessionPart::Rows(run) => SessionPart::Rows(runs + run),
            };
            touched.sessions.extend(assigned.sessions.into_iter().map(|grown| TouchedSession {
                row: *first,
                session: grown.session,
                starts: SessionPart::open(&grown.parts).map(|place| open[place].session.start_us).collect(),
                parts: grown.parts.iter().map(part).collect(),
            }));
        }
        touched
    }

    /// The start of the session that began first.
    pub fn first_start(&self) -> Option<i64> {
        self.starts.first().map(|(start, _)| *start)
    }

    /// The accumulators of these slots.
    pub fn accumulators(&self, slots: &[Slot]) -> Result<RecordBatch> {
        let (states, _) = self.table.states(slots).map_err(Error::arrow)?;
        states.project(&(1..states.num_columns()).collect::<Vec<_>>()).map_err(Error::arrow)
    }

    /// Stores what became of sessions. `keys` are the key columns of the rows and `encoded` their keys; `accumulators` has
    /// a row for each session. Returns their slots.
    pub fn store(
        &mut self,
        keys: &[ArrayRef],
        encoded: &Keys,
        sessions: &[TouchedSession],
        accumulators: &RecordBatch,
    ) -> Result<Vec<Slot>> {
        let key = |session: &TouchedSession| encoded.view().get(session.row as usize);
        let old: Vec<Slot> = sessions.iter().flat_map(|session| SessionPart::open(&session.parts)).collect();
        sessions.iter().for_each(|session| self.forget(key(session), &session.starts));
        let rows = UInt32Array::from_iter_values(sessions.iter().map(|session| session.row));
        let mut columns = take_arrays(keys, &rows, None).map_err(Error::arrow)?;
        columns.push(timestamps(sessions.iter().map(|session| session.session.start_us)));
        let whole = Keys::encode(&columns, sessions.len()).map_err(Error::arrow)?;
        let (view, hashes) = (whole.view(), whole.hashes());
        let slots: Vec<Slot> =
            hashes.iter().enumerate().map(|(row, hash)| self.table.slot(view.get(row), *hash)).collect();
        let kept: BTreeSet<Slot> = slots.iter().copied().collect();
        let gone: Vec<Slot> = old.into_iter().filter(|slot| !kept.contains(slot)).collect();
        let states = [timestamps(sessions.iter().map(|session| session.session.last_us))];
        let states = states.into_iter().chain(accumulators.columns().iter().cloned()).collect();
        let states = RecordBatch::try_new(self.table.state_schema(), states).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &BooleanArray::from(vec![true; slots.len()]));
        self.remove_rows(&gone);
        for (session, slot) in sessions.iter().zip(&slots) {
            self.insert(key(session), OpenSession { session: session.session, slot: *slot });
        }
        Ok(slots)
    }

    fn remove_rows(&mut self, slots: &[Slot]) {
        let nothing = RecordBatch::new_empty(self.table.state_schema());
        self.table.store(slots, &nothing, &BooleanArray::from(vec![false; slots.len()]));
    }

    /// Takes out the sessions that are complete.
    pub fn close(&mut self, watermark: Option<i64>) -> Result<ClosedSessions> {
        let Some(watermark) = watermark else { return self.results(Vec::new()) };
        let slots = self.ends.iter().take_while(|(end, _)| *end <= watermark).map(|(_, slot)| *slot).collect();
        let results = self.results_with_slots(slots)?;
        let encoded = Keys::encode(&results.1.keys, results.0.len()).map_err(Error::arrow)?;
        for (row, session) in results.1.sessions.iter().enumerate() {
            self.forget(encoded.view().get(row), &[session.start_us]);
        }
        self.remove_rows(&results.0);
        Ok(results.1)
    }

    /// These sessions as they stand.
    pub fn results(&self, slots: Vec<Slot>) -> Result<ClosedSessions> {
        Ok(self.results_with_slots(slots)?.1)
    }

    fn results_with_slots(&self, slots: Vec<Slot>) -> Result<(Vec<Slot>, ClosedSessions)> {
        let found = self.results_of(&slots)?;
        let encoded = Keys::encode(&found.keys, slots.len()).map_err(Error::arrow)?;
        let (view, hashes) = (encoded.view(), encoded.hashes());
        let mut order: Vec<usize> = (0..slots.len()).collect();
        order.sort_unstable_by_key(|row| {
            let Session { start_us, last_us } = found.sessions[*row];
            (last_us, start_us, hashes[*row], view.get(*row))
        });
        let slots: Vec<Slot> = order.into_iter().map(|row| slots[row]).collect();
        let results = self.results_of(&slots)?;
        Ok((slots, results))
    }

    /// These sessions, in this order.
    fn results_of(&self, slots: &[Slot]) -> Result<ClosedSessions> {
        let mut keys = self.table.keys(slots).map_err(Error::arrow)?;
        let starts = keys.split_off(self.keys);
        let (states, _) = self.table.states(slots).map_err(Error::arrow)?;
        let values = |column: Option<&ArrayRef>| {
            let values = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
            values.map(|values| values.values().to_vec()).ok_or_else(|| Error::bug("a session without its times"))
        };
        let starts = values(starts.first())?;
        let session = |(start_us, last_us)| Session { start_us, last_us };
        let sessions = starts.into_iter().zip(values(states.columns().first())?).map(session).collect();
        Ok(ClosedSessions { keys, sessions, accumulators: self.accumulators(slots)? })
    }
}

/// The column of the rows that sessions of checkpoints of earlier versions hold themselves: Arrow IPC streams one behind the
/// other, each with its length before it. Rows that come now are in [`super::SessionPieces`].
pub fn rows_kept() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("rows", DataType::Binary, false)]))
}
