//! Settings of the `nexmark` source, which generates the events of an auction house: persons, auctions and bids.

use millstream_rows::batch::column::{ColumnSpec, TimeForm, TimeUnit};
use millstream_rows::batch::types::ColumnType;

/// Maximum of `bytes`.
pub const BYTES_MAX: u64 = 4_096;

/// Default of `events_per_second`.
pub const EVENTS_PER_SECOND: u64 = 10_000;

/// Number of events in an epoch: one person, three auctions and 46 bids.
pub const EVENTS_PER_EPOCH: u64 = 50;

/// The kind of events of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NexmarkEvent {
    /// A seller or bidder.
    Person,
    /// An item for sale.
    Auction,
    /// An offer for an item.
    Bid,
}

/// Settings of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NexmarkReads {
    /// The kind of events.
    pub event: NexmarkEvent,
    /// Events of all three kinds per second of event time.
    pub events_per_second: u64,
    /// Number of events of all three kinds; `None`: unlimited.
    pub events_max: Option<u64>,
    /// Whether rows are produced at the pace of event time instead of as fast as the job takes them.
    pub paced: bool,
    /// One bid in this many is not for the hot auction.
    pub hot_auctions: u64,
    /// One auction in this many is not from the hot seller.
    pub hot_sellers: u64,
    /// One bid in this many is not from the hot bidder.
    pub hot_bidders: u64,
    /// Average length of a row, reached by the length of `extra`.
    pub bytes: u64,
}

impl NexmarkEvent {
    /// The kinds, with their names in job files.
    pub const ALL: [(&'static str, NexmarkEvent); 3] =
        [("person", NexmarkEvent::Person), ("auction", NexmarkEvent::Auction), ("bid", NexmarkEvent::Bid)];

    /// Returns the name in job files.
    pub fn keyword(self) -> &'static str {
        NexmarkEvent::ALL.iter().find(|(_, event)| *event == self).map_or("", |(word, _)| word)
    }

    /// Returns the first index of this kind in each epoch of [`EVENTS_PER_EPOCH`], and its count.
    fn slots(self) -> (u64, u64) {
        match self {
            NexmarkEvent::Person => (0, 1),
            NexmarkEvent::Auction => (1, 3),
            NexmarkEvent::Bid => (4, 46),
        }
    }

    /// Returns the event number of row `row` of this kind.
    pub fn number_of(self, row: u64) -> u64 {
        let (first, count) = self.slots();
        (row / count).saturating_mul(EVENTS_PER_EPOCH).saturating_add(first + row % count)
    }

    /// Returns how many of the first `events` events are of this kind.
    pub fn rows_within(self, events: u64) -> u64 {
        let (first, count) = self.slots();
        (events / EVENTS_PER_EPOCH) * count + (events % EVENTS_PER_EPOCH).saturating_sub(first).min(count)
    }

    /// Returns the default average length of rows.
    pub fn bytes(self) -> u64 {
        match self {
            NexmarkEvent::Person => 200,
            NexmarkEvent::Auction => 500,
            NexmarkEvent::Bid => 100,
        }
    }

    /// Returns the columns.
    pub fn columns(self) -> Vec<ColumnSpec> {
        use ColumnType::{Int64, Text, Timestamp};
        let columns: &[(&str, ColumnType)] = match self {
            NexmarkEvent::Person => &[
                ("id", Int64),
                ("name", Text),
                ("email_address", Text),
                ("credit_card", Text),
                ("city", Text),
                ("state", Text),
                ("date_time", Timestamp),
                ("extra", Text),
            ],
            NexmarkEvent::Auction => &[
                ("id", Int64),
                ("item_name", Text),
                ("description", Text),
                ("initial_bid", Int64),
                ("reserve", Int64),
                ("date_time", Timestamp),
                ("expires", Timestamp),
                ("seller", Int64),
                ("category", Int64),
                ("extra", Text),
            ],
            NexmarkEvent::Bid => &[
                ("auction", Int64),
                ("bidder", Int64),
                ("price", Int64),
                ("channel", Text),
                ("url", Text),
                ("date_time", Timestamp),
                ("extra", Text),
            ],
        };
        let column = |(name, kind): &(&str, ColumnType)| {
            let column = ColumnSpec::new(*name, kind.clone());
            if *kind == Timestamp { column.written(TimeForm::Number(TimeUnit::Micros)) } else { column }
        };
        columns.iter().map(column).collect()
    }
}

impl NexmarkReads {
    /// Creates settings with the defaults of Nexmark's own generator, without end.
    pub fn new(event: NexmarkEvent) -> NexmarkReads {
        NexmarkReads {
            event,
            events_per_second: EVENTS_PER_SECOND,
            events_max: None,
            paced: false,
            hot_auctions: 2,
            hot_sellers: 4,
            hot_bidders: 4,
            bytes: event.bytes(),
        }
    }

    /// Returns the total number of rows.
    pub fn rows_max(&self) -> Option<u64> {
        self.events_max.map(|events| self.event.rows_within(events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_of_one_kind() {
        let mut all: Vec<u64> = Vec::new();
        for (word, event) in NexmarkEvent::ALL {
            assert_eq!(event.keyword(), word);
            for events in 0..200 {
                let numbers: Vec<_> = (0..event.rows_within(events)).map(|row| event.number_of(row)).collect();
                assert!(numbers.iter().all(|number| *number < events), "{word} {events} {numbers:?}");
            }
            all.extend((0..event.rows_within(150)).map(|row| event.number_of(row)));
        }
        all.sort_unstable();
        assert_eq!(all, (0..150).collect::<Vec<_>>());
    }
}
