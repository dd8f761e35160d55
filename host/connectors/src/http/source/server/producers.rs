//! Producers number their requests, so that a repeated one adds no duplicate rows. The last sequence number of each is saved as a position of the
//! source, under the producer's name.

use crate::limits::HTTP_PRODUCER_BYTES_MAX;
use millstream_rows::batch::position::{Position, Positions};
use millstream_rows::inbox::Ticket;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Prefix of the names of producers' positions.
const MARK: &str = "producer:";

/// Producer and sequence number of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedRequest {
    /// Name of the producer.
    pub producer: String,
    /// Sequence number of the request.
    pub sequence: u64,
}

impl NumberedRequest {
    /// Parses the headers of a request. The error describes what is wrong with them.
    pub fn from_headers(producer: Option<&[u8]>, sequence: Option<&[u8]>) -> Result<Option<NumberedRequest>, String> {
        let (producer, sequence) = match (producer, sequence) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err("Millstream-Producer needs Millstream-Sequence".into()),
            (None, Some(_)) => return Err("Millstream-Sequence needs Millstream-Producer".into()),
            (Some(producer), Some(sequence)) => (producer, sequence),
        };
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap_or_default().to_owned();
        if producer.is_empty() || producer.len() > HTTP_PRODUCER_BYTES_MAX || !producer.iter().all(u8::is_ascii_graphic)
        {
            return Err(format!(
                "Millstream-Producer is not a name of 1 to {HTTP_PRODUCER_BYTES_MAX} visible ASCII characters"
            ));
        }
        let digits = sequence.iter().all(u8::is_ascii_digit);
        match text(sequence).parse::<i64>().ok().filter(|_| digits).and_then(|number| u64::try_from(number).ok()) {
            Some(sequence) => Ok(Some(NumberedRequest { producer: text(producer), sequence })),
            None => Err(format!("Millstream-Sequence is not an integer from 0 to {}", i64::MAX)),
        }
    }

    /// Returns the position of the producer once this request is in a batch. `now_ms` later tells which producer has been idle for longest.
    pub fn position(&self, now_ms: i64) -> (String, Position) {
        (name(&self.producer), Position { offset: self.sequence, mark: now_ms })
    }
}

/// Returns the name of a producer's position.
pub fn name(producer: &str) -> String {
    format!("{MARK}{producer}")
}

/// How a request relates to earlier ones of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOrder {
    /// It follows all of them.
    New,
    /// Its rows were received before: in an earlier run of the job, or with this ticket.
    Repeated(Option<Ticket>),
    /// It should have preceded a request whose rows are not durable yet.
    OutOfOrder,
}

/// The last sequence number of each producer.
pub struct Producers {
    states: HashMap<String, ProducerState>,
    /// Producers of each sender, by when they were last used. The sender of a restored producer is unknown until its next request.
    senders: HashMap<Option<IpAddr>, BTreeMap<u64, String>>,
    /// Senders by their number of producers; on a tie, the last one is that with the oldest producer.
    ranks: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
    use_count: u64,
    max: usize,
}

struct ProducerState {
    sequence: u64,
    ticket: Option<Ticket>,
    used: u64,
    sender: Option<IpAddr>,
}

/// An evicted producer.
#[derive(Debug, PartialEq, Eq)]
pub struct EvictedProducer {
    /// Its name.
    pub producer: String,
    /// The name of its position.
    pub position: String,
    /// Its sender, if it has sent a request since startup.
    pub sender: Option<IpAddr>,
}

impl Producers {
    /// Restores the producers from saved positions.
    pub fn new(from: &Positions, max: u64) -> Producers {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let (states, senders, ranks) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        let mut producers = Producers { states, senders, ranks, use_count: 0, max };
        let mut found: Vec<_> = from
            .iter()
            .filter_map(|(name, position)| Some((position.mark, name.strip_prefix(MARK)?, position.offset)))
            .collect();
        found.sort_unstable();
        found.into_iter().for_each(|(_, producer, sequence)| producers.set(producer, sequence, None, None));
        producers
    }

    /// Classifies a request. `is_durable` returns whether the rows of a ticket are durable.
    pub fn order_of(&self, numbered: &NumberedRequest, is_durable: impl FnOnce(Ticket) -> bool) -> RequestOrder {
        match self.states.get(&numbered.producer) {
            Some(state) if numbered.sequence == state.sequence => RequestOrder::Repeated(state.ticket),
            Some(state) if numbered.sequence < state.sequence => match state.ticket {
                Some(ticket) if !is_durable(ticket) => RequestOrder::OutOfOrder,
                _ => RequestOrder::Repeated(None),
            },
            _ => RequestOrder::New,
        }
    }

    /// Records a request whose rows are in the inbox.
    pub fn record(&mut self, numbered: &NumberedRequest, ticket: Ticket, sender: IpAddr) {
        self.set(&numbered.producer, numbered.sequence, Some(ticket), Some(sender));
    }

    /// Marks a producer as used.
    pub fn touch(&mut self, producer: &str, sender: IpAddr) {
        let state = self.states.get(producer).map(|state| (state.sequence, state.ticket));
        if let Some((sequence, ticket)) = state {
            self.set(producer, sequence, ticket, Some(sender));
        }
    }

    fn set(&mut self, producer: &str, sequence: u64, ticket: Option<Ticket>, sender: Option<IpAddr>) {
        self.use_count += 1;
        let (used, state) = (self.use_count, ProducerState { sequence, ticket, used: self.use_count, sender });
        if let Some(before) = self.states.insert(producer.to_owned(), state) {
            self.change(before.sender, |of| drop(of.remove(&before.used)));
        }
        self.change(sender, |of| drop(of.insert(used, producer.to_owned())));
    }

    /// Changes the producers of a sender, and updates its rank.
    fn change(&mut self, sender: Option<IpAddr>, change: impl FnOnce(&mut BTreeMap<u64, String>)) {
        let of = self.senders.entry(sender).or_default();
        let rank_of = |of: &BTreeMap<u64, String>| {
            let (oldest, _) = of.first_key_value()?;
            Some((of.len(), Reverse(*oldest), sender?))
        };
        if let Some(before) = rank_of(of) {
            self.ranks.remove(&before);
        }
        change(of);
        self.ranks.extend(rank_of(of));
        if of.is_empty() {
            self.senders.remove(&sender);
        }
    }

    /// Evicts a producer if there are too many: of the sender with the most, the one idle for longest. So made-up names only evict names of the same
    /// sender. A producer whose rows are not durable is not evicted.
    pub fn evict(&mut self, is_durable: impl FnOnce(Ticket) -> bool) -> Option<EvictedProducer> {
        if self.states.len() <= self.max {
            return None;
        }
        let several = |(count, ..): &&(usize, Reverse<u64>, IpAddr)| *count > 1 || !self.senders.contains_key(&None);
        let sender = self.ranks.last().filter(several).map(|(.., sender)| *sender);
        let (used, producer) = self.senders.get(&sender)?.first_key_value()?;
        let (used, producer) = (*used, producer.clone());
        if self.states.get(&producer)?.ticket.is_some_and(|ticket| !is_durable(ticket)) {
            return None;
        }
        self.change(sender, |of| drop(of.remove(&used)));
        self.states.remove(&producer);
        let position = name(&producer);
        Some(EvictedProducer { producer, position, sender })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(producer: &str, sequence: u64) -> NumberedRequest {
        NumberedRequest { producer: producer.into(), sequence }
    }

    #[test]
    fn headers_are_checked() {
        let of = |producer: Option<&str>, sequence: Option<&str>| {
            NumberedRequest::from_headers(producer.map(str::as_bytes), sequence.map(str::as_bytes))
        };
        assert_eq!(of(None, None), Ok(None));
        assert_eq!(of(Some("a"), Some("0")), Ok(Some(numbered("a", 0))));
        assert_eq!(of(Some("a"), Some("9223372036854775807")), Ok(Some(numbered("a", i64::MAX as u64))));
        let long = "x".repeat(HTTP_PRODUCER_BYTES_MAX + 1);
        for (producer, sequence) in [
            (Some("a"), None),
            (None, Some("1")),
            (Some(""), Some("1")),
            (Some("a b"), Some("1")),
            (Some("ü"), Some("1")),
            (Some(long.as_str()), Some("1")),
            (Some("a"), Some("")),
            (Some("a"), Some("-1")),
            (Some("a"), Some("+1")),
            (Some("a"), Some("1.0")),
            (Some("a"), Some("9223372036854775808")),
        ] {
            assert!(of(producer, sequence).is_err(), "{producer:?} {sequence:?}");
        }
    }

    #[test]
    fn what_came_before_is_known() {
        let from = Positions::from([numbered("a", 7).position(5), (String::new(), Position { offset: 9, mark: 0 })]);
        let producers = Producers::new(&from, 10);
        assert_eq!(producers.order_of(&numbered("a", 8), |_| true), RequestOrder::New);
        assert_eq!(producers.order_of(&numbered("a", 7), |_| true), RequestOrder::Repeated(None));
        assert_eq!(producers.order_of(&numbered("a", 6), |_| true), RequestOrder::Repeated(None));
        assert_eq!(producers.order_of(&numbered("b", 7), |_| true), RequestOrder::New);
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn evicted(producers: &mut Producers) -> Option<(String, Option<IpAddr>)> {
        producers.evict(|_| true).map(|evicted| (evicted.producer, evicted.sender))
    }

    #[test]
    fn what_is_on_its_way_is_waited_for() {
        let mut producers = Producers::new(&Positions::new(), 10);
        let ticket = Ticket::new(3);
        producers.record(&numbered("a", 5), ticket, ip(1));
        assert_eq!(producers.order_of(&numbered("a", 5), |_| false), RequestOrder::Repeated(Some(ticket)));
        assert_eq!(producers.order_of(&numbered("a", 4), |_| false), RequestOrder::OutOfOrder);
        assert_eq!(producers.order_of(&numbered("a", 4), |_| true), RequestOrder::Repeated(None));
        assert_eq!(producers.order_of(&numbered("a", 6), |_| false), RequestOrder::New);
    }

    #[test]
    fn who_was_silent_for_longest_is_forgotten() {
        let from = Positions::from([numbered("a", 1).position(30), numbered("b", 1).position(10)]);
        let mut producers = Producers::new(&from, 2);
        assert_eq!(evicted(&mut producers), None);
        producers.record(&numbered("c", 1), Ticket::new(1), ip(1));
        let (producer, position) = ("b".to_owned(), "producer:b".to_owned());
        assert_eq!(producers.evict(|_| false), Some(EvictedProducer { producer, position, sender: None }));
        producers.touch("a", ip(1));
        producers.record(&numbered("d", 1), Ticket::new(3), ip(1));
        producers.touch("a", ip(1));
        assert_eq!(producers.evict(|_| false), None, "its rows are on their way");
        assert_eq!(evicted(&mut producers), Some(("c".into(), Some(ip(1)))));
        assert_eq!(evicted(&mut producers), None);
    }

    #[test]
    fn names_that_somebody_makes_up_push_out_none_of_others() {
        let from = Positions::from([numbered("found", 1).position(30)]);
        let mut producers = Producers::new(&from, 10);
        for (name, last) in [("a", 1), ("b", 1), ("c", 2)] {
            producers.record(&numbered(name, 1), Ticket::new(1), ip(last));
        }
        for number in 0..1000 {
            producers.record(&numbered(&format!("flood-{number}"), 1), Ticket::new(1), ip(9));
            let gone = evicted(&mut producers);
            assert!(gone.is_none_or(|(_, sender)| sender == Some(ip(9))), "{number}");
        }
        // Other senders still have room.
        producers.record(&numbered("d", 1), Ticket::new(1), ip(3));
        assert_eq!(evicted(&mut producers), Some(("flood-994".into(), Some(ip(9)))));
        for known in ["found", "a", "b", "c", "d"] {
            let order = producers.order_of(&numbered(known, 1), |_| true);
            assert!(matches!(order, RequestOrder::Repeated(_)), "{known}");
        }
    }

    #[test]
    fn who_sends_first_after_a_start_pushes_out_one_of_before_and_then_its_own() {
        let found = (0..5).map(|number| numbered(&format!("found-{number}"), 1).position(number));
        let mut producers = Producers::new(&Positions::from_iter(found), 5);
        producers.record(&numbered("x", 1), Ticket::new(1), ip(9));
        assert_eq!(evicted(&mut producers), Some(("found-0".into(), None)));
        for number in 0..9 {
            producers.record(&numbered(&format!("y-{number}"), 1), Ticket::new(1), ip(9));
            assert!(evicted(&mut producers).is_some_and(|(_, sender)| sender == Some(ip(9))));
        }
        // If senders have one producer each, the one idle for longest is evicted.
        (1..5).for_each(|number| producers.touch(&format!("found-{number}"), ip(u8::try_from(number).unwrap())));
        producers.record(&numbered("z", 1), Ticket::new(1), ip(8));
        assert_eq!(evicted(&mut producers), Some(("y-8".into(), Some(ip(9)))));
    }
}
