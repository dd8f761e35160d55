//! Settings of sources of kind `nexmark`, which make the events of an auction house with persons, auctions and bids.

use millstream_base::batch::column::{ColumnSpec, TimeForm, TimeUnit};
use millstream_base::batch::types::ColumnType;

/// Most that `bytes` of a `nexmark` source may say.
pub const BYTES_MAX: u64 = 4_096;

/// Default of `events_per_second` of a `nexmark` source.
pub const EVENTS_PER_SECOND: u64 = 10_000;

/// Events of one numbering in which a person is followed by three auctions and 46 bids.
pub const EVENTS_OF_EPOCH: u64 = 50;

/// The events of which a source has the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NexmarkEvent {
    /// Who sells and bids.
    Person,
    /// What is sold.
    Auction,
    /// What is offered for it.
    Bid,
}

/// What such a source makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NexmarkReads {
    /// Whose rows.
    pub event: NexmarkEvent,
    /// Events of all three kinds in a second of event time.
    pub events_per_second: u64,
    /// Events of all three kinds in all; `None`: for ever.
    pub events_max: Option<u64>,
    /// Whether a second of event time takes a second; otherwise rows are made as quickly as the job takes them.
    pub paced: bool,
    /// One bid in so many is not for the hot auction.
    pub hot_auctions: u64,
    /// One auction in so many is not of the hot seller.
    pub hot_sellers: u64,
    /// One bid in so many is not of the hot bidder.
    pub hot_bidders: u64,
    /// How long a row is on average; `extra` fills it up.
    pub bytes: u64,
}

impl NexmarkEvent {
    /// The kinds, by the words of job files.
    pub const ALL: [(&'static str, NexmarkEvent); 3] =
        [("person", NexmarkEvent::Person), ("auction", NexmarkEvent::Auction), ("bid", NexmarkEvent::Bid)];

    /// The word of job files.
    pub fn word(self) -> &'static str {
        NexmarkEvent::ALL.iter().find(|(_, event)| *event == self).map_or("", |(word, _)| word)
    }

    /// The first place that these have in each [`EVENTS_OF_EPOCH`], and how many.
    fn places(self) -> (u64, u64) {
        match self {
            NexmarkEvent::Person => (0, 1),
            NexmarkEvent::Auction => (1, 3),
            NexmarkEvent::Bid => (4, 46),
        }
    }

    /// Which of all events row `row` of these is.
    pub fn number_of(self, row: u64) -> u64 {
        let (first, count) = self.places();
        (row / count).saturating_mul(EVENTS_OF_EPOCH).saturating_add(first + row % count)
    }

    /// How many of the first `events` of all are of these.
    pub fn rows_within(self, events: u64) -> u64 {
        let (first, count) = self.places();
        (events / EVENTS_OF_EPOCH) * count + (events % EVENTS_OF_EPOCH).saturating_sub(first).min(count)
    }

    /// How long rows are on average, where the job does not say.
    pub fn bytes(self) -> u64 {
        match self {
            NexmarkEvent::Person => 200,
            NexmarkEvent::Auction => 500,
            NexmarkEvent::Bid => 100,
        }
    }

    /// The columns.
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
    /// These events, as Nexmark's own generator makes them by default, without end.
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

    /// How many rows in all.
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
            assert_eq!(event.word(), word);
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
