//! The open sessions of the keys that a worker owns, with their accumulators. They are in a state table, which tracks their ends, with an index by
//! key. Rows of idle sessions may be spilled. All sessions of a key are stored together in files, and loaded together before rows are assigned to
//! them.

use super::{Gap, Session, SessionPart};
use crate::state::time_counts::TimeCounts;
use crate::state::{Slot, StateTable, TouchSource};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat, concat_batches, take_arrays, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchTime;
use millstream_rows::batch::group::Grouped;
use millstream_rows::batch::group::sort_by_rank;
use millstream_rows::batch::keys::{Keys, last_number};
use millstream_rows::batch::types::{ColumnType, timestamps};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// See the module. Sessions of one key never have the same start.
pub struct OpenSessions {
    gap: Gap,
    keys: usize,
    /// A session is idle there when it is complete.
    table: StateTable,
    /// The open sessions by key, ordered by start. If rows may be spilled, only those in memory.
    by_key: HashMap<Box<[u8]>, Vec<OpenSession>>,
    /// Number of sessions in `by_key`.
    pub(super) known: usize,
    /// Whether rows were spilled, which may have moved others.
    has_left: bool,
    /// All open sessions, in memory and in files: their number by start.
    starts: TimeCounts,
}

#[derive(Clone, Copy)]
struct OpenSession {
    session: Session,
    /// The slot of its row. If rows may be spilled, it is valid from [`OpenSessions::warm`] to the end of the batch.
    slot: Slot,
}

/// Approximate memory of a key and of a session in `by_key`.
const KEY_BYTES: u64 = 128;
const SESSION_BYTES: u64 = 32;
/// Number of spilled sessions that may stay in the index, in addition to half as many as are in memory.
const KNOWN_MIN: usize = 256;
/// Approximate number of complete sessions that are brought into memory at a time.
const CLOSED_MAX: usize = 1 << 16;

/// Sessions that received rows.
#[derive(Default)]
pub struct TouchedSessions {
    /// By row: an index in `sessions`, and the run of rows that it is in; `None` if the row is late.
    pub of_row: Vec<Option<(usize, usize)>>,
    /// The sessions; those of a key are consecutive.
    pub sessions: Vec<TouchedSession>,
    /// Number of runs of rows.
    pub runs: usize,
}

/// A session that received rows.
pub struct TouchedSession {
    /// A row with its key.
    pub row: u32,
    /// Its current bounds.
    pub session: Session,
    /// Its parts: slots of sessions, and runs of rows.
    pub parts: Vec<SessionPart<Slot>>,
    /// The starts of the previously open sessions.
    starts: Vec<i64>,
}

/// Sessions in output order: of their ends, then of their starts, then of key hashes.
pub struct ClosedSessions {
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// First and last times.
    pub sessions: Vec<Session>,
    /// The accumulators.
    pub accumulators: RecordBatch,
}

impl ClosedSessions {
    /// Concatenates sessions.
    fn concat(pieces: Vec<ClosedSessions>) -> Result<ClosedSessions> {
        let Some(first) = pieces.first() else { return Err(Error::bug("no sessions")) };
        let column = |index: usize| {
            let columns: Vec<&dyn Array> =
                pieces.iter().filter_map(|piece| Some(piece.keys.get(index)?.as_ref())).collect();
            concat(&columns).map_err(Error::arrow)
        };
        let keys = (0..first.keys.len()).map(column).collect::<Result<_>>()?;
        let accumulators = pieces.iter().map(|piece| &piece.accumulators);
        let accumulators = concat_batches(first.accumulators.schema_ref(), accumulators).map_err(Error::arrow)?;
        Ok(ClosedSessions {
            keys,
            sessions: pieces.into_iter().flat_map(|piece| piece.sessions).collect(),
            accumulators,
        })
    }

    /// Sorts the sessions by output order.
    fn in_order(self) -> Result<ClosedSessions> {
        let encoded = Keys::encode(&self.keys, self.sessions.len()).map_err(Error::arrow)?;
        let (view, hashes) = (encoded.view(), encoded.hashes());
        let mut order: Vec<u32> = (0..self.sessions.len() as u32).collect();
        order.sort_unstable_by_key(|row| {
            let row = *row as usize;
            let Session { start_us, last_us } = self.sessions[row];
            (last_us, start_us, hashes[row], view.get(row))
        });
        let sessions = order.iter().map(|row| self.sessions[*row as usize]).collect();
        let order = UInt32Array::from(order);
        let keys = take_arrays(&self.keys, &order, None).map_err(Error::arrow)?;
        Ok(ClosedSessions {
            keys,
            sessions,
            accumulators: take_record_batch(&self.accumulators, &order).map_err(Error::arrow)?,
        })
    }
}

/// Returns the column of a session's start, which distinguishes the sessions of a key.
pub fn start_field() -> Field {
    Field::new("millstream_start", ColumnType::Timestamp.arrow(), false)
}

/// Returns the columns of a session's state: the time of its last row, then its accumulators.
pub fn state_schema(accumulators: &Schema) -> SchemaRef {
    let last = Arc::new(Field::new("millstream_last", ColumnType::Timestamp.arrow(), false));
    Arc::new(Schema::new([last].into_iter().chain(accumulators.fields().iter().cloned()).collect::<Vec<_>>()))
}

impl OpenSessions {
    /// Creates a table without sessions.
    pub fn new(key: &Schema, accumulators: &Schema, gap: Gap) -> Result<OpenSessions> {
        let fields = key.fields().iter().cloned().chain([Arc::new(start_field())]).collect();
        let table = StateTable::new(fields, state_schema(accumulators), None).map_err(Error::arrow)?;
        let (keys, table) = (key.fields().len(), table.with_touch_source(TouchSource::State(0), gap.gap_us));
        Ok(OpenSessions {
            gap,
            keys,
            table,
            by_key: HashMap::new(),
            known: 0,
            has_left: false,
            starts: TimeCounts::default(),
        })
    }

    /// Lets rows spill to files; `spilling` converts the table, which must be empty.
    pub fn spilling(self, spilling: impl FnOnce(StateTable) -> Result<StateTable>) -> Result<OpenSessions> {
        let table = spilling(self.table.ordered_by(self.keys))?;
        Ok(OpenSessions { table, ..self })
    }

    /// Returns the table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Returns the approximate memory of the index.
    pub fn bytes_outside_table(&self) -> u64 {
        self.by_key.len() as u64 * KEY_BYTES + self.known as u64 * SESSION_BYTES + self.starts.bytes()
    }

    /// Rebuilds the index after the table was restored.
    pub fn restored(&mut self) -> Result<()> {
        let starts = &mut self.starts;
        self.table.each_key(|key| starts.add(last_number(key)))?;
        self.has_left = self.table.cold().0 > 0;
        let slots: Vec<Slot> = self.table.all().collect();
        self.index_slots(&slots)
    }

    /// Brings the sessions of these keys into memory. The columns are those of rows; `rows` has one row for each key.
    pub fn warm(&mut self, columns: &[ArrayRef], keys: &Keys, rows: &[u32]) -> Result<()> {
        if !self.has_left {
            return Ok(());
        }
        let hashes = keys.hashes();
        let slots = self.table.warm_hashes(rows.iter().filter_map(|row| hashes.get(*row as usize).copied()))?;
        self.index_slots(&slots)?;
        // Slots change when other rows are spilled.
        let (mut of_rows, mut starts) = (Vec::new(), Vec::new());
        for row in rows {
            for open in self.by_key.get(keys.view().get(*row as usize)).into_iter().flatten() {
                of_rows.push(*row);
                starts.push(open.session.start_us);
            }
        }
        let full = session_keys(columns, &of_rows, starts.into_iter())?;
        let full = Keys::encode(&full, of_rows.len()).map_err(Error::arrow)?;
        let mut indexes = 0..;
        for row in rows {
            for open in self.by_key.get_mut(keys.view().get(*row as usize)).into_iter().flatten() {
                let key = indexes.next().map_or(&[] as &[u8], |index| full.view().get(index));
                open.slot = self.table.find(key).ok_or_else(|| Error::bug("a session that is not in memory"))?;
            }
        }
        Ok(())
    }

    /// Spills rows after a batch, if needed.
    pub fn settle(&mut self) -> Result<()> {
        self.table.shrink()?;
        self.has_left |= self.table.cold().0 > 0;
        if self.has_left && self.known > self.table.rows_in_memory() / 2 * 3 + KNOWN_MIN {
            (self.by_key, self.known) = (HashMap::new(), 0);
            let slots: Vec<Slot> = self.table.all().collect();
            self.index_slots(&slots)?;
        }
        Ok(())
    }

    /// Adds sessions in memory to the index.
    fn index_slots(&mut self, slots: &[Slot]) -> Result<()> {
        let (keys, sessions) = self.sessions_of(slots)?;
        let encoded = Keys::encode(&keys, slots.len()).map_err(Error::arrow)?;
        for (row, (session, slot)) in sessions.into_iter().zip(slots).enumerate() {
            self.insert(encoded.view().get(row), OpenSession { session, slot: *slot });
        }
        Ok(())
    }

    fn insert(&mut self, key: &[u8], open: OpenSession) {
        let sessions = match self.by_key.get_mut(key) {
            Some(sessions) => sessions,
            None => self.by_key.entry(key.into()).or_default(),
        };
        match sessions.binary_search_by_key(&open.session.start_us, |own| own.session.start_us) {
            Ok(index) => sessions[index] = open,
            Err(index) => {
                sessions.reserve_exact(1);
                sessions.insert(index, open);
                self.known += 1;
            }
        }
    }

    fn unindex(&mut self, key: &[u8], starts: &[i64]) {
        starts.iter().for_each(|start| self.starts.remove(*start));
        let Some(sessions) = self.by_key.get_mut(key) else { return };
        let before = sessions.len();
        sessions.retain(|own| !starts.contains(&own.session.start_us));
        self.known -= before - sessions.len();
        if sessions.is_empty() {
            self.by_key.remove(key);
        }
    }

    /// Assigns rows to sessions. `keys` are the encoded keys of the rows, and `grouped` the groups of equal ones, in the order of arrival.
    /// `watermark` is that before the batch. The sessions of the keys must be in memory, see [`OpenSessions::warm`].
    pub fn assign(&self, keys: &Keys, grouped: &Grouped, times: &[i64], watermark: Option<i64>) -> TouchedSessions {
        let (ends, sorted) = sort_by_rank(grouped.of_row.iter().map(|group| *group as u32), grouped.count());
        let mut touched = TouchedSessions { of_row: vec![None; times.len()], ..TouchedSessions::default() };
        let mut start = 0;
        for (first, end) in grouped.first_rows.iter().zip(ends) {
            let rows = sorted.get(start as usize..end as usize).unwrap_or_default();
            start = end;
            if rows.is_empty() {
                continue;
            }
            let open = self.by_key.get(keys.view().get(*first as usize)).map_or(&[] as &[OpenSession], Vec::as_slice);
            let sessions: Vec<Session> = open.iter().map(|open| open.session).collect();
            let assigned = self.gap.assign(&sessions, rows.iter().map(|row| times[*row as usize]), watermark);
            let (before, runs) = (touched.sessions.len(), touched.runs);
            for (row, of) in rows.iter().zip(assigned.of_row) {
                touched.of_row[*row as usize] = of.map(|(session, run)| (before + session, runs + run));
            }
            touched.runs += assigned.runs;
            let part = |part: &SessionPart<usize>| match part {
                SessionPart::Open(index) => SessionPart::Open(open[*index].slot),
                SessionPart::Rows(run) => SessionPart::Rows(runs + run),
            };
            touched.sessions.extend(assigned.sessions.into_iter().map(|grown| TouchedSession {
                row: *first,
                session: grown.session,
                starts: SessionPart::open(&grown.parts).map(|index| open[index].session.start_us).collect(),
                parts: grown.parts.iter().map(part).collect(),
            }));
        }
        touched
    }

    /// Returns the start of the earliest session.
    pub fn first_start(&self) -> Option<i64> {
        self.starts.first()
    }

    /// Returns the accumulators of these slots.
    pub fn accumulators(&self, slots: &[Slot]) -> Result<RecordBatch> {
        let (states, _) = self.table.states(slots).map_err(Error::arrow)?;
        states.project(&(1..states.num_columns()).collect::<Vec<_>>()).map_err(Error::arrow)
    }

    /// Returns the slots of obsolete sessions: they were merged into others, or begin earlier now. Call it before [`OpenSessions::store`].
    pub fn replaced(&self, sessions: &[TouchedSession]) -> Vec<Slot> {
        let mut replaced = Vec::new();
        for of_key in sessions.chunk_by(|a, b| a.row == b.row) {
            let starts: BTreeSet<i64> = of_key.iter().map(|touched| touched.session.start_us).collect();
            let open = |touched: &TouchedSession| {
                SessionPart::open(&touched.parts).zip(touched.starts.clone()).collect::<Vec<(Slot, i64)>>()
            };
            let removed = of_key.iter().flat_map(open).filter(|(_, start)| !starts.contains(start));
            replaced.extend(removed.map(|(slot, _)| slot));
        }
        replaced
    }

    /// Stores changed sessions. `keys` are the key columns of the rows and `encoded` their keys; `accumulators` has one row per session. Returns
    /// their slots.
    pub fn store(
        &mut self,
        keys: &[ArrayRef],
        encoded: &Keys,
        sessions: &[TouchedSession],
        accumulators: &RecordBatch,
    ) -> Result<Vec<Slot>> {
        let key = |session: &TouchedSession| encoded.view().get(session.row as usize);
        let old: Vec<Slot> = sessions.iter().flat_map(|session| SessionPart::open(&session.parts)).collect();
        sessions.iter().for_each(|session| self.unindex(key(session), &session.starts));
        let rows: Vec<u32> = sessions.iter().map(|session| session.row).collect();
        let columns = session_keys(keys, &rows, sessions.iter().map(|session| session.session.start_us))?;
        let full = Keys::encode(&columns, sessions.len()).map_err(Error::arrow)?;
        let (view, hashes) = (full.view(), self.table.hashes_of(&columns, &full).map_err(Error::arrow)?);
        let slots: Vec<Slot> =
            hashes.iter().enumerate().map(|(row, hash)| self.table.slot(view.get(row), *hash)).collect();
        let kept: BTreeSet<Slot> = slots.iter().copied().collect();
        let removed: Vec<Slot> = old.into_iter().filter(|slot| !kept.contains(slot)).collect();
        let states = [timestamps(sessions.iter().map(|session| session.session.last_us))];
        let states = states.into_iter().chain(accumulators.columns().iter().cloned()).collect();
        let states = RecordBatch::try_new(self.table.state_schema(), states).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &BooleanArray::from(vec![true; slots.len()]));
        self.table.remove_all(&removed);
        self.table.used(&slots);
        for (session, slot) in sessions.iter().zip(&slots) {
            self.starts.add(session.session.start_us);
            self.insert(key(session), OpenSession { session: session.session, slot: *slot });
        }
        Ok(slots)
    }

    /// Takes the complete sessions.
    pub fn close(&mut self, watermark: Option<i64>) -> Result<ClosedSessions> {
        let mut pieces = Vec::new();
        while let Some(watermark) = watermark {
            let slots = self.table.take_some_idle(BatchTime(watermark), CLOSED_MAX)?;
            if slots.is_empty() {
                break;
            }
            let piece = self.results_of(&slots)?;
            let encoded = Keys::encode(&piece.keys, slots.len()).map_err(Error::arrow)?;
            for (row, session) in piece.sessions.iter().enumerate() {
                self.unindex(encoded.view().get(row), &[session.start_us]);
            }
            self.table.remove_all(&slots);
            pieces.push(piece);
        }
        match pieces.len() {
            0 => self.results(&[]),
            _ => ClosedSessions::concat(pieces)?.in_order(),
        }
    }

    /// Returns the current content of these sessions.
    pub fn results(&self, slots: &[Slot]) -> Result<ClosedSessions> {
        self.results_of(slots)?.in_order()
    }

    /// Returns these sessions, in this order.
    fn results_of(&self, slots: &[Slot]) -> Result<ClosedSessions> {
        let (keys, sessions) = self.sessions_of(slots)?;
        Ok(ClosedSessions { keys, sessions, accumulators: self.accumulators(slots)? })
    }

    /// Returns the key columns and the times of these sessions, in this order.
    fn sessions_of(&self, slots: &[Slot]) -> Result<(Vec<ArrayRef>, Vec<Session>)> {
        let mut keys = self.table.keys(slots).map_err(Error::arrow)?;
        let starts = keys.split_off(self.keys);
        let some: Vec<Option<Slot>> = slots.iter().copied().map(Some).collect();
        let lasts = self.table.state_column(0, &some).map_err(Error::arrow)?;
        let values = |column: Option<&ArrayRef>| {
            let values = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
            values.map(|values| values.values().to_vec()).ok_or_else(|| Error::bug("a session without its times"))
        };
        let session = |(start_us, last_us)| Session { start_us, last_us };
        let sessions = values(starts.first())?.into_iter().zip(values(Some(&lasts))?).map(session).collect();
        Ok((keys, sessions))
    }
}

/// Returns the table keys of sessions that begin at these times, with the keys of these rows.
fn session_keys(keys: &[ArrayRef], rows: &[u32], starts: impl Iterator<Item = i64>) -> Result<Vec<ArrayRef>> {
    let mut columns = take_arrays(keys, &UInt32Array::from(rows.to_vec()), None).map_err(Error::arrow)?;
    columns.push(timestamps(starts));
    Ok(columns)
}

/// Returns the column of rows that sessions of older checkpoints contain: concatenated Arrow IPC streams, each after its length. New rows are in
/// [`super::SessionPieces`].
pub fn legacy_rows_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("rows", DataType::Binary, false)]))
}
