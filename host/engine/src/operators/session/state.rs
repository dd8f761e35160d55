//! Sessions: rows of a key with less than `gap` between them. Pure functions over times.
//!
//! A single row is a session from its time until `gap` later. Overlapping sessions are merged; sessions that only touch are not, as in Beam. So no
//! row that is on time can extend a session that the watermark has closed. Results do not depend on the division into batches.

mod open;
mod pieces;

pub use open::{ClosedSessions, OpenSessions, TouchedSession, legacy_rows_schema, start_field, state_schema};
pub use pieces::{NewPiece, SessionPieces, piece_fields, piece_schema, with_indexes};

use std::collections::BTreeMap;

/// Definition of sessions. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// A session ends after this long without rows.
    pub gap_us: i64,
    /// Maximum length of a session.
    pub length_us_max: i64,
}

/// The first and the last row of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// Time of the first row.
    pub start_us: i64,
    /// Time of the last row.
    pub last_us: i64,
}

/// The sessions of the rows of a key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AssignedSessions {
    /// By row: an index in `sessions`, and the run of rows that it is in; `None` if the row is late.
    pub of_row: Vec<Option<(usize, usize)>>,
    /// The sessions that received rows, by start.
    pub sessions: Vec<GrownSession>,
    /// Number of runs of rows.
    pub runs: usize,
}

/// A session that received rows.
#[derive(Debug, PartialEq, Eq)]
pub struct GrownSession {
    /// Its current bounds.
    pub session: Session,
    /// Its parts: open sessions, by index, and runs of rows.
    pub parts: Vec<SessionPart<usize>>,
}

/// A part of a session. Parts are in the order of their rows: the order of arrival, except for merged sessions. Of these the one that began earlier
/// comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPart<Open> {
    /// A previously open session.
    Open(Open),
    /// A run of rows, by number.
    Rows(usize),
}

impl<Open: Copy> SessionPart<Open> {
    /// Returns the parts that were open before.
    pub fn open(parts: &[SessionPart<Open>]) -> impl Iterator<Item = Open> {
        parts.iter().filter_map(|part| match part {
            SessionPart::Open(open) => Some(*open),
            SessionPart::Rows(_) => None,
        })
    }
}

/// A session during assignment.
struct GrowingSession {
    session: Session,
    parts: Vec<SessionPart<usize>>,
    /// The session that it was merged into.
    into: Option<usize>,
    touched: bool,
}

impl Gap {
    /// Returns the first time after the session.
    pub fn end(&self, session: Session) -> i64 {
        session.last_us.saturating_add(self.gap_us)
    }

    /// Returns whether a session is complete.
    pub fn closed(&self, session: Session, watermark: Option<i64>) -> bool {
        watermark.is_some_and(|watermark| self.end(session) <= watermark)
    }

    /// Assigns rows of one key, in the order of arrival, to sessions. `open` has the open sessions, ordered by start. `watermark` is that before the
    /// rows' batch. A row joins the session between whose rows it lies. It also joins all sessions that it overlaps, from the earliest on, as long as
    /// the result is not too long. Otherwise it begins a session, unless that would be closed already. So no session has rows between those of
    /// another.
    pub fn assign(
        &self,
        open: &[Session],
        times: impl Iterator<Item = i64>,
        watermark: Option<i64>,
    ) -> AssignedSessions {
        let mut all: Vec<GrowingSession> =
            (0..).zip(open).map(|(index, session)| new_growing(*session, vec![SessionPart::Open(index)])).collect();
        let mut by_start: BTreeMap<i64, usize> = (0..).zip(open).map(|(index, own)| (own.start_us, index)).collect();
        let (mut of_row, mut runs) = (Vec::new(), 0);
        for time_us in times {
            let (merged, parts) = self.merged(&all, &by_start, time_us);
            let Some((first, others)) = parts.split_first() else {
                let late = self.closed(merged, watermark);
                of_row.push((!late).then_some((all.len(), runs)));
                if !late {
                    by_start.insert(time_us, all.len());
                    all.push(GrowingSession { touched: true, ..new_growing(merged, vec![SessionPart::Rows(runs)]) });
                    runs += 1;
                }
                continue;
            };
            for part in &parts {
                by_start.remove(&all[*part].session.start_us);
            }
            for other in others {
                let parts = std::mem::take(&mut all[*other].parts);
                all[*first].parts.extend(parts);
                all[*other].into = Some(*first);
            }
            let grown = &mut all[*first];
            (grown.session, grown.touched) = (merged, true);
            by_start.insert(merged.start_us, *first);
            let run = match grown.parts.last() {
                Some(SessionPart::Rows(run)) => *run,
                _ => {
                    grown.parts.push(SessionPart::Rows(runs));
                    runs += 1;
                    runs - 1
                }
            };
            of_row.push(Some((*first, run)));
        }
        finish(all, of_row, runs, &by_start)
    }

    /// Returns the session of a row with those that it overlaps, and the indexes of these.
    fn merged(&self, all: &[GrowingSession], by_start: &BTreeMap<i64, usize>, time_us: i64) -> (Session, Vec<usize>) {
        let mut merged = Session { start_us: time_us, last_us: time_us };
        let mut parts = Vec::new();
        // No session has rows between those of another, so those that begin later also end later.
        let near = by_start.range(..self.end(merged)).rev().map(|(_, index)| *index);
        let mut near: Vec<usize> = near.take_while(|index| self.end(all[*index].session) > time_us).collect();
        near.reverse();
        let around = |session: Session| (session.start_us..=session.last_us).contains(&time_us);
        let around = near.iter().map(|index| all[*index].session).find(|session| around(*session));
        merged = around.unwrap_or(merged);
        for index in near {
            let Session { start_us, last_us } = all[index].session;
            let both = Session { start_us: merged.start_us.min(start_us), last_us: merged.last_us.max(last_us) };
            let length_us = self.end(both).saturating_sub(both.start_us);
            if length_us <= self.length_us_max {
                merged = both;
                parts.push(index);
            }
        }
        (merged, parts)
    }
}

fn new_growing(session: Session, parts: Vec<SessionPart<usize>>) -> GrowingSession {
    GrowingSession { session, parts, into: None, touched: false }
}

/// Returns the sessions that received rows, by start.
fn finish(
    mut all: Vec<GrowingSession>,
    of_row: Vec<Option<(usize, usize)>>,
    runs: usize,
    by_start: &BTreeMap<i64, usize>,
) -> AssignedSessions {
    let mut indexes = vec![0; all.len()];
    let mut sessions = Vec::new();
    for index in by_start.values() {
        let grown = &mut all[*index];
        if grown.touched {
            indexes[*index] = sessions.len();
            sessions.push(GrownSession { session: grown.session, parts: std::mem::take(&mut grown.parts) });
        }
    }
    // A merged session may have been merged into another one: paths are shortened on the way.
    let mut root = |mut index: usize| {
        let mut end = index;
        while let Some(into) = all[end].into {
            end = into;
        }
        while let Some(into) = all[index].into.replace(end).filter(|_| index != end) {
            index = into;
        }
        all[end].into = None;
        end
    };
    let of_row = of_row.into_iter().map(|of| of.map(|(index, run)| (indexes[root(index)], run))).collect();
    AssignedSessions { of_row, sessions, runs }
}

#[cfg(test)]
mod tests;
