//! Generates Nexmark events from their numbers only, so that every run and every worker generates the same events. Contents, proportions and hot keys
//! are those of the widely used Apache Beam generator. The random numbers are our own.

mod text_pool;

use super::settings::{EVENTS_PER_EPOCH, NexmarkEvent, NexmarkReads};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use millstream_base::random::Random;
use millstream_rows::batch::types::schema_of;
use std::sync::{Arc, LazyLock};
use text_pool::TEXT_POOL;

/// Time of event 0: 2015-07-15, midnight UTC.
const BEGIN_MS: u64 = 1_436_918_400_000;
/// First ID of persons and auctions.
const FIRST_ID: u64 = 1_000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
const AUCTIONS_PER_EPOCH: u64 = 3;
/// Number of auctions that bids are for, and of persons who sell and bid. Some IDs are up to `LEAD` ahead of the existing ones.
const OPEN_AUCTIONS: u64 = 100;
const ACTIVE_PEOPLE: u64 = 1_000;
const LEAD: u64 = 10;
/// One ID in this many is hot for a while.
const HOT_OF: u64 = 100;

/// Generates rows from the records of the source: row numbers of eight bytes.
pub struct NexmarkDecoder {
    spec: NexmarkReads,
    schema: SchemaRef,
}

/// A column under construction.
struct Text(StringBuilder);

impl Text {
    fn new(rows: usize, bytes: usize) -> Text {
        Text(StringBuilder::with_capacity(rows, rows.saturating_mul(bytes)))
    }

    fn done(mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

impl NexmarkDecoder {
    /// Creates a decoder for these settings.
    pub fn new(spec: &NexmarkReads) -> NexmarkDecoder {
        let columns: Vec<_> = spec.event.columns().into_iter().map(|column| (column.name, column.kind)).collect();
        NexmarkDecoder { spec: spec.clone(), schema: schema_of(&columns) }
    }

    /// Returns the rows with these numbers.
    pub fn rows(&self, numbers: &[u8]) -> Option<RecordBatch> {
        let rows: Vec<u64> = numbers.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let events =
            rows.into_iter().map(|row| self.spec.event.number_of(row)).map(|number| Event::new(number, &self.spec));
        let columns = match self.spec.event {
            NexmarkEvent::Person => self.persons(events),
            NexmarkEvent::Auction => self.auctions(events),
            NexmarkEvent::Bid => self.bids(events),
        };
        RecordBatch::try_new(self.schema.clone(), columns).ok()
    }

    fn bids(&self, events: impl ExactSizeIterator<Item = Event>) -> Vec<ArrayRef> {
        let rows = events.len();
        let [mut auctions, mut bidders, mut prices, mut times] = [(); 4].map(|()| Vec::with_capacity(rows));
        let (mut channels, mut urls, mut extras) = (Text::new(rows, 12), Text::new(rows, 64), Text::new(rows, 80));
        let bytes = self.spec.bytes.saturating_sub(32);
        for mut event in events {
            let auction = match event.is_hot(self.spec.hot_auctions) {
                true => event.last_auction() / HOT_OF * HOT_OF,
                false => event.some_auction(),
            };
            let bidder = match event.is_hot(self.spec.hot_bidders) {
                true => event.last_person() / HOT_OF * HOT_OF + 1,
                false => event.some_person(),
            };
            auctions.push((auction + FIRST_ID) as i64);
            bidders.push((bidder + FIRST_ID) as i64);
            prices.push(event.price());
            let (channel, url) = text_pool::channel(&mut event.random);
            channels.0.append_value(channel);
            urls.0.append_value(url);
            times.push(event.time_us());
            extras.0.append_value(text_pool::extra(&mut event.random, bytes));
        }
        vec![
            ints(auctions),
            ints(bidders),
            ints(prices),
            channels.done(),
            urls.done(),
            timestamps(times),
            extras.done(),
        ]
    }

    fn auctions(&self, events: impl ExactSizeIterator<Item = Event>) -> Vec<ArrayRef> {
        let rows = events.len();
        let [mut ids, mut first_bids, mut reserves, mut sellers, mut categories] =
            [(); 5].map(|()| Vec::with_capacity(rows));
        let [mut times, mut ends] = [(); 2].map(|()| Vec::with_capacity(rows));
        let (mut names, mut descriptions, mut extras) =
            (Text::new(rows, 20), Text::new(rows, 100), Text::new(rows, 500));
        for mut event in events {
            let seller = match event.is_hot(self.spec.hot_sellers) {
                true => event.last_person() / HOT_OF * HOT_OF,
                false => event.some_person(),
            };
            let (name, description) =
                (text_pool::random_words(&mut event.random, 20), text_pool::random_words(&mut event.random, 100));
            let first_bid = event.price();
            ids.push((event.last_auction() + FIRST_ID) as i64);
            names.0.append_value(name);
            descriptions.0.append_value(description);
            first_bids.push(first_bid);
            reserves.push(first_bid + event.price());
            times.push(event.time_us());
            ends.push(event.time_us() + event.length_ms(self.spec.events_per_second) as i64 * 1_000);
            sellers.push((seller + FIRST_ID) as i64);
            categories.push((FIRST_CATEGORY + event.random.below(CATEGORIES)) as i64);
            let bytes = self.spec.bytes.saturating_sub(56 + (name.len() + description.len()) as u64);
            extras.0.append_value(text_pool::extra(&mut event.random, bytes));
        }
        let (names, descriptions, extras) = (names.done(), descriptions.done(), extras.done());
        let (times, ends) = (timestamps(times), timestamps(ends));
        vec![
            ints(ids),
            names,
            descriptions,
            ints(first_bids),
            ints(reserves),
            times,
            ends,
            ints(sellers),
            ints(categories),
            extras,
        ]
    }

    fn persons(&self, events: impl ExactSizeIterator<Item = Event>) -> Vec<ArrayRef> {
        let rows = events.len();
        let [mut ids, mut times] = [(); 2].map(|()| Vec::with_capacity(rows));
        let [mut names, mut mails, mut cards, mut cities, mut states, mut extras] =
            [12, 16, 19, 10, 2, 200].map(|bytes| Text::new(rows, bytes));
        for mut event in events {
            let random = &mut event.random;
            let (name, mail, card) = (text_pool::name(random), text_pool::mail(random), text_pool::card(random));
            let (city, state) = (text_pool::city(random), text_pool::state(random));
            let used = 16 + name.len() + mail.len() + card.len() + city.len() + state.len();
            extras.0.append_value(text_pool::extra(random, self.spec.bytes.saturating_sub(used as u64)));
            names.0.append_value(name);
            mails.0.append_value(mail);
            cards.0.append_value(card);
            cities.0.append_value(city);
            states.0.append_value(state);
            ids.push((event.last_person() + FIRST_ID) as i64);
            times.push(event.time_us());
        }
        let columns_of_text = [names, mails, cards, cities, states].map(Text::done);
        let mut columns = vec![ints(ids)];
        columns.extend(columns_of_text);
        columns.extend([timestamps(times), extras.done()]);
        columns
    }
}

fn ints(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn timestamps(values: Vec<i64>) -> ArrayRef {
    Arc::new(
        TimestampMicrosecondArray::from(values)
            .with_data_type(millstream_rows::batch::types::ColumnType::Timestamp.arrow()),
    )
}

/// An event and its random stream.
struct Event {
    number: u64,
    per_second: u64,
    random: Random,
}

impl Event {
    fn new(number: u64, spec: &NexmarkReads) -> Event {
        // Streams of adjacent numbers must not be correlated.
        let random = Random(number.wrapping_mul(0xd134_2543_de82_ef95));
        Event { number, per_second: spec.events_per_second.max(1), random }
    }

    /// Returns the event's time in whole milliseconds.
    fn time_us(&self) -> i64 {
        ((BEGIN_MS + self.since_begin_ms(self.number)) * 1_000) as i64
    }

    fn since_begin_ms(&self, number: u64) -> u64 {
        // Clamped to the year 9999, as later events cannot have a time.
        let ms = match number.checked_mul(1_000) {
            Some(thousands) => thousands / self.per_second,
            None => number / self.per_second * 1_000,
        };
        ms.min(251_000_000_000_000)
    }

    fn is_hot(&mut self, one_of: u64) -> bool {
        self.random.below(one_of.max(1)) > 0
    }

    /// Returns the most recent person, counted from 0.
    fn last_person(&self) -> u64 {
        self.number / EVENTS_PER_EPOCH
    }

    /// Returns the most recent auction, counted from 0; also 0 before the first.
    fn last_auction(&self) -> u64 {
        let (epoch, index) = (self.number / EVENTS_PER_EPOCH, self.number % EVENTS_PER_EPOCH);
        (epoch * AUCTIONS_PER_EPOCH + index.min(AUCTIONS_PER_EPOCH)).saturating_sub(1)
    }

    /// Returns an auction that is open, or soon will be.
    fn some_auction(&mut self) -> u64 {
        let last = self.last_auction();
        let first = last.saturating_sub(OPEN_AUCTIONS);
        first + self.random.below(last - first + 1 + LEAD)
    }

    /// Returns a person who is active, or soon will be.
    fn some_person(&mut self) -> u64 {
        let people = self.last_person() + 1;
        let active = people.min(ACTIVE_PEOPLE);
        people - active + self.random.below(active + LEAD)
    }

    /// Returns a price from 100 to 100,000,000, uniform over the number of digits.
    fn price(&mut self) -> i64 {
        let drawn = self.random.next();
        let [coarse, fine] = &*PRICES;
        let [coarse, fine] = [coarse.get((drawn & 1_023) as usize), fine.get(((drawn >> 10) & 1_023) as usize)];
        (coarse.unwrap_or(&1.0) * fine.unwrap_or(&1.0) * 100.0).round() as i64
    }

    /// Returns how long an auction stays open, such that about as many are open as bids are for.
    fn length_ms(&mut self, events_per_second: u64) -> u64 {
        let events = OPEN_AUCTIONS * EVENTS_PER_EPOCH / AUCTIONS_PER_EPOCH;
        let horizon = events * 1_000 / events_per_second.max(1);
        1 + self.random.below((horizon * 2).max(1))
    }
}

/// Powers 10^(6i/1024) and 10^(6i/1048576) for i from 0 to 1,023. They are computed with square roots and products only, which are identical on every
/// machine, unlike powers.
static PRICES: LazyLock<[Vec<f64>; 2]> = LazyLock::new(|| {
    let mut root: f64 = 1_000_000.0;
    [(); 2].map(|()| {
        for _ in 0..10 {
            root = root.sqrt();
        }
        let step = root;
        std::iter::successors(Some(1.0), |power| Some(power * step)).take(1_024).collect()
    })
});

/// Initializes the shared tables, so that no part has to.
pub fn prepare() {
    LazyLock::force(&PRICES);
    LazyLock::force(&TEXT_POOL);
}

#[cfg(test)]
mod tests;
