//! Sessions: rows of a key with less than `gap` between them. Pure functions over times.
//!
//! A row alone is a session from its time until `gap` later. Sessions that overlap are one; sessions that only touch are
//! not, as Beam's: so no row that comes in time can extend a session that the watermark has closed, and results do not
//! depend on how rows fall into batches.

mod open;
mod pieces;

pub use open::{ClosedSessions, OpenSessions, TouchedSession, rows_kept, start_field, state_schema};
pub use pieces::{NewPiece, SessionPieces, piece_fields, piece_schema, with_places};

use std::collections::BTreeMap;

/// Which rows make a session. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// A session ends when nothing came for so long.
    pub gap_us: i64,
    /// No session gets longer.
    pub length_us_max: i64,
}

/// The first and the last row of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// Time of the first.
    pub start_us: i64,
    /// Time of the last.
    pub last_us: i64,
}

/// The sessions that the rows of a key belong to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AssignedSessions {
    /// By row: a place in `sessions`, and the run of rows that it is in; `None`: the row is late.
    pub of_row: Vec<Option<(usize, usize)>>,
    /// The sessions that got rows, by start.
    pub sessions: Vec<GrownSession>,
    /// How many runs of rows there are.
    pub runs: usize,
}

/// A session that got rows.
#[derive(Debug, PartialEq, Eq)]
pub struct GrownSession {
    /// As it is now.
    pub session: Session,
    /// What it is made of: open sessions, by place, and runs of rows.
    pub parts: Vec<SessionPart<usize>>,
}

/// A part of a session. Parts stand in the order of their rows: that of arrival but for sessions that became one, of which the one
/// that began earlier comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPart<Open> {
    /// A session that was open before.
    Open(Open),
    /// A run of rows, by number.
    Rows(usize),
}

impl<Open: Copy> SessionPart<Open> {
    /// Those of these parts that were open before.
    pub fn open(parts: &[SessionPart<Open>]) -> impl Iterator<Item = Open> {
        parts.iter().filter_map(|part| match part {
            SessionPart::Open(open) => Some(*open),
            SessionPart::Rows(_) => None,
        })
    }
}

/// A session while rows are assigned.
struct GrowingSession {
    session: Session,
    parts: Vec<SessionPart<usize>>,
    /// It became part of another one.
    into: Option<usize>,
    touched: bool,
}

impl Gap {
    /// The first moment that is not in a session any more.
    pub fn end(&self, session: Session) -> i64 {
        session.last_us.saturating_add(self.gap_us)
    }

    /// Whether a session is complete.
    pub fn closed(&self, session: Session, watermark: Option<i64>) -> bool {
        watermark.is_some_and(|watermark| self.end(session) <= watermark)
    }

    /// Assigns rows of one key, in the order in which they came, to sessions. `open`: those that are open, with their
    /// starts in order. `watermark`: that before the rows' batch. A row takes part in the session between whose rows it lies, and in
    /// all that it overlaps, from the earliest on, as far as what comes of it is not too long; where there is none it begins one,
    /// unless that would be closed already. So no session has rows between those of another.
    pub fn assign(
        &self,
        open: &[Session],
        times: impl Iterator<Item = i64>,
        watermark: Option<i64>,
    ) -> AssignedSessions {
        let mut all: Vec<GrowingSession> =
            (0..).zip(open).map(|(place, session)| growing(*session, vec![SessionPart::Open(place)])).collect();
        let mut by_start: BTreeMap<i64, usize> = (0..).zip(open).map(|(place, own)| (own.start_us, place)).collect();
        let (mut of_row, mut runs) = (Vec::new(), 0);
        for time_us in times {
            let (merged, parts) = self.merged(&all, &by_start, time_us);
            let Some((first, others)) = parts.split_first() else {
                let late = self.closed(merged, watermark);
                of_row.push((!late).then_some((all.len(), runs)));
                if !late {
                    by_start.insert(time_us, all.len());
                    all.push(GrowingSession { touched: true, ..growing(merged, vec![SessionPart::Rows(runs)]) });
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

    /// The session that a row makes with those that it overlaps, and which these are.
    fn merged(&self, all: &[GrowingSession], by_start: &BTreeMap<i64, usize>, time_us: i64) -> (Session, Vec<usize>) {
        let mut merged = Session { start_us: time_us, last_us: time_us };
        let mut parts = Vec::new();
        // No session has rows between those of another, so those that begin later also end later.
        let near = by_start.range(..self.end(merged)).rev().map(|(_, place)| *place);
        let mut near: Vec<usize> = near.take_while(|place| self.end(all[*place].session) > time_us).collect();
        near.reverse();
        let around = |session: Session| (session.start_us..=session.last_us).contains(&time_us);
        let around = near.iter().map(|place| all[*place].session).find(|session| around(*session));
        merged = around.unwrap_or(merged);
        for place in near {
            let Session { start_us, last_us } = all[place].session;
            let both = Session { start_us: merged.start_us.min(start_us), last_us: merged.last_us.max(last_us) };
            let length_us = self.end(both).saturating_sub(both.start_us);
            if length_us <= self.length_us_max {
                merged = both;
                parts.push(place);
            }
        }
        (merged, parts)
    }
}

fn growing(session: Session, parts: Vec<SessionPart<usize>>) -> GrowingSession {
    GrowingSession { session, parts, into: None, touched: false }
}

/// The sessions that got rows, by start.
fn finish(
    mut all: Vec<GrowingSession>,
    of_row: Vec<Option<(usize, usize)>>,
    runs: usize,
    by_start: &BTreeMap<i64, usize>,
) -> AssignedSessions {
    let mut places = vec![0; all.len()];
    let mut sessions = Vec::new();
    for place in by_start.values() {
        let grown = &mut all[*place];
        if grown.touched {
            places[*place] = sessions.len();
            sessions.push(GrownSession { session: grown.session, parts: std::mem::take(&mut grown.parts) });
        }
    }
    // What became part of a session that became part of another: paths are made short on the way.
    let mut root = |mut place: usize| {
        let mut end = place;
        while let Some(into) = all[end].into {
            end = into;
        }
        while let Some(into) = all[place].into.replace(end).filter(|_| place != end) {
            place = into;
        }
        all[end].into = None;
        end
    };
    let of_row = of_row.into_iter().map(|of| of.map(|(place, run)| (places[root(place)], run))).collect();
    AssignedSessions { of_row, sessions, runs }
}

#[cfg(test)]
mod tests;
