//! Producers: senders that number their requests, so that one that is repeated brings no row twice. How far each has come is a
//! position of the source, by its name.

use crate::limits::HTTP_PRODUCER_BYTES_MAX;
use millstream_base::batch::position::{Position, Positions};
use millstream_base::inbox::Ticket;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// What the names of producers begin with among the positions of a source.
const MARK: &str = "producer:";

/// The request of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The producer.
    pub producer: String,
    /// Which of its requests.
    pub sequence: u64,
}

impl Numbered {
    /// What the headers of a request say; the error says what is wrong with them.
    pub fn of(producer: Option<&[u8]>, sequence: Option<&[u8]>) -> Result<Option<Numbered>, String> {
        let (producer, sequence) = match (producer, sequence) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err("Millstream-Producer is of no use without Millstream-Sequence".into()),
            (None, Some(_)) => return Err("Millstream-Sequence is of no use without Millstream-Producer".into()),
            (Some(producer), Some(sequence)) => (producer, sequence),
        };
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap_or_default().to_owned();
        if producer.is_empty() || producer.len() > HTTP_PRODUCER_BYTES_MAX || !producer.iter().all(u8::is_ascii_graphic)
        {
            return Err(format!(
                "Millstream-Producer is not a name of 1 to {HTTP_PRODUCER_BYTES_MAX} visible ASCII letters"
            ));
        }
        let digits = sequence.iter().all(u8::is_ascii_digit);
        match text(sequence).parse::<i64>().ok().filter(|_| digits).and_then(|number| u64::try_from(number).ok()) {
            Some(sequence) => Ok(Some(Numbered { producer: text(producer), sequence })),
            None => Err(format!("Millstream-Sequence is not a whole number of 0 to {}", i64::MAX)),
        }
    }

    /// The position of the producer once this request is in a batch. `now` tells which producer was silent for longest.
    pub fn position(&self, now_ms: i64) -> (String, Position) {
        (name(&self.producer), Position { offset: self.sequence, mark: now_ms })
    }
}

/// What the position of a producer is called.
pub fn name(producer: &str) -> String {
    format!("{MARK}{producer}")
}

/// How a request stands to those that its producer sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOrder {
    /// It is behind all of them.
    New,
    /// Its rows came before: in an earlier start of the job, or with this ticket.
    Repeated(Option<Ticket>),
    /// It should have come before one whose rows are not safe yet.
    Behind,
}

/// How far each producer has come.
pub struct Producers {
    known: HashMap<String, ProducerState>,
    /// The producers of each sender, by when they sent last. Whose those are that a start found is not known until they come.
    senders: HashMap<Option<IpAddr>, BTreeMap<u64, String>>,
    /// Senders by how many producers they have; of several that have as many the last is the one with the oldest.
    ranks: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
    clock: u64,
    max: usize,
}

struct ProducerState {
    sequence: u64,
    ticket: Option<Ticket>,
    used: u64,
    sender: Option<IpAddr>,
}

/// A producer that was forgotten.
#[derive(Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Its name.
    pub producer: String,
    /// What its position is called.
    pub position: String,
    /// Where it sent from, if it has sent since the start.
    pub sender: Option<IpAddr>,
}

impl Producers {
    /// As positions tell.
    pub fn new(from: &Positions, max: u64) -> Producers {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let (known, senders, ranks) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        let mut producers = Producers { known, senders, ranks, clock: 0, max };
        let mut found: Vec<_> = from
            .iter()
            .filter_map(|(name, position)| Some((position.mark, name.strip_prefix(MARK)?, position.offset)))
            .collect();
        found.sort_unstable();
        found.into_iter().for_each(|(_, producer, sequence)| producers.set(producer, sequence, None, None));
        producers
    }

    /// How a request stands. `is_safe`: whether the rows of a ticket are.
    pub fn standing(&self, numbered: &Numbered, is_safe: impl FnOnce(Ticket) -> bool) -> RequestOrder {
        match self.known.get(&numbered.producer) {
            Some(known) if numbered.sequence == known.sequence => RequestOrder::Repeated(known.ticket),
            Some(known) if numbered.sequence < known.sequence => match known.ticket {
                Some(ticket) if !is_safe(ticket) => RequestOrder::Behind,
                _ => RequestOrder::Repeated(None),
            },
            _ => RequestOrder::New,
        }
    }

    /// The rows of a request are on their way.
    pub fn took(&mut self, numbered: &Numbered, ticket: Ticket, sender: IpAddr) {
        self.set(&numbered.producer, numbered.sequence, Some(ticket), Some(sender));
    }

    /// A producer has shown that it is there.
    pub fn came(&mut self, producer: &str, sender: IpAddr) {
        let known = self.known.get(producer).map(|known| (known.sequence, known.ticket));
        if let Some((sequence, ticket)) = known {
            self.set(producer, sequence, ticket, Some(sender));
        }
    }

    fn set(&mut self, producer: &str, sequence: u64, ticket: Option<Ticket>, sender: Option<IpAddr>) {
        self.clock += 1;
        let (used, known) = (self.clock, ProducerState { sequence, ticket, used: self.clock, sender });
        if let Some(before) = self.known.insert(producer.to_owned(), known) {
            self.change(before.sender, |of| drop(of.remove(&before.used)));
        }
        self.change(sender, |of| drop(of.insert(used, producer.to_owned())));
    }

    /// Changes the producers of a sender, and its rank.
    fn change(&mut self, sender: Option<IpAddr>, change: impl FnOnce(&mut BTreeMap<u64, String>)) {
        let of = self.senders.entry(sender).or_default();
        let rank = |of: &BTreeMap<u64, String>| {
            let (oldest, _) = of.first_key_value()?;
            Some((of.len(), Reverse(*oldest), sender?))
        };
        if let Some(before) = rank(of) {
            self.ranks.remove(&before);
        }
        change(of);
        self.ranks.extend(rank(of));
        if of.is_empty() {
            self.senders.remove(&sender);
        }
    }

    /// Forgets a producer where there are too many: of the sender that has most, the one that was silent for longest, so that names
    /// that somebody makes up push out their own. One whose rows are not safe is not forgotten.
    pub fn forget(&mut self, is_safe: impl FnOnce(Ticket) -> bool) -> Option<Forgotten> {
        if self.known.len() <= self.max {
            return None;
        }
        let several = |(count, ..): &&(usize, Reverse<u64>, IpAddr)| *count > 1 || !self.senders.contains_key(&None);
        let sender = self.ranks.last().filter(several).map(|(.., sender)| *sender);
        let (used, producer) = self.senders.get(&sender)?.first_key_value()?;
        let (used, producer) = (*used, producer.clone());
        if self.known.get(&producer)?.ticket.is_some_and(|ticket| !is_safe(ticket)) {
            return None;
        }
        self.change(sender, |of| drop(of.remove(&used)));
        self.known.remove(&producer);
        let position = name(&producer);
        Some(Forgotten { producer, position, sender })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(producer: &str, sequence: u64) -> Numbered {
        Numbered { producer: producer.into(), sequence }
    }

    #[test]
    fn headers_are_checked() {
        let of = |producer: Option<&str>, sequence: Option<&str>| {
            Numbered::of(producer.map(str::as_bytes), sequence.map(str::as_bytes))
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
        assert_eq!(producers.standing(&numbered("a", 8), |_| true), RequestOrder::New);
        assert_eq!(producers.standing(&numbered("a", 7), |_| true), RequestOrder::Repeated(None));
        assert_eq!(producers.standing(&numbered("a", 6), |_| true), RequestOrder::Repeated(None));
        assert_eq!(producers.standing(&numbered("b", 7), |_| true), RequestOrder::New);
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn forgotten(producers: &mut Producers) -> Option<(String, Option<IpAddr>)> {
        producers.forget(|_| true).map(|forgotten| (forgotten.producer, forgotten.sender))
    }

    #[test]
    fn what_is_on_its_way_is_waited_for() {
        let mut producers = Producers::new(&Positions::new(), 10);
        let ticket = Ticket::of(3);
        producers.took(&numbered("a", 5), ticket, ip(1));
        assert_eq!(producers.standing(&numbered("a", 5), |_| false), RequestOrder::Repeated(Some(ticket)));
        assert_eq!(producers.standing(&numbered("a", 4), |_| false), RequestOrder::Behind);
        assert_eq!(producers.standing(&numbered("a", 4), |_| true), RequestOrder::Repeated(None));
        assert_eq!(producers.standing(&numbered("a", 6), |_| false), RequestOrder::New);
    }

    #[test]
    fn who_was_silent_for_longest_is_forgotten() {
        let from = Positions::from([numbered("a", 1).position(30), numbered("b", 1).position(10)]);
        let mut producers = Producers::new(&from, 2);
        assert_eq!(forgotten(&mut producers), None);
        producers.took(&numbered("c", 1), Ticket::of(1), ip(1));
        let (producer, position) = ("b".to_owned(), "producer:b".to_owned());
        assert_eq!(producers.forget(|_| false), Some(Forgotten { producer, position, sender: None }));
        producers.came("a", ip(1));
        producers.took(&numbered("d", 1), Ticket::of(3), ip(1));
        producers.came("a", ip(1));
        assert_eq!(producers.forget(|_| false), None, "its rows are on their way");
        assert_eq!(forgotten(&mut producers), Some(("c".into(), Some(ip(1)))));
        assert_eq!(forgotten(&mut producers), None);
    }

    #[test]
    fn names_that_somebody_makes_up_push_out_none_of_others() {
        let from = Positions::from([numbered("found", 1).position(30)]);
        let mut producers = Producers::new(&from, 10);
        for (name, last) in [("a", 1), ("b", 1), ("c", 2)] {
            producers.took(&numbered(name, 1), Ticket::of(1), ip(last));
        }
        for number in 0..1000 {
            producers.took(&numbered(&format!("flood-{number}"), 1), Ticket::of(1), ip(9));
            let gone = forgotten(&mut producers);
            assert!(gone.is_none_or(|(_, sender)| sender == Some(ip(9))), "{number}");
        }
        // Others still have room.
        producers.took(&numbered("d", 1), Ticket::of(1), ip(3));
        assert_eq!(forgotten(&mut producers), Some(("flood-994".into(), Some(ip(9)))));
        for known in ["found", "a", "b", "c", "d"] {
            let standing = producers.standing(&numbered(known, 1), |_| true);
            assert!(matches!(standing, RequestOrder::Repeated(_)), "{known}");
        }
    }

    #[test]
    fn who_sends_first_after_a_start_pushes_out_one_of_before_and_then_its_own() {
        let found = (0..5).map(|number| numbered(&format!("found-{number}"), 1).position(number));
        let mut producers = Producers::new(&Positions::from_iter(found), 5);
        producers.took(&numbered("x", 1), Ticket::of(1), ip(9));
        assert_eq!(forgotten(&mut producers), Some(("found-0".into(), None)));
        for number in 0..9 {
            producers.took(&numbered(&format!("y-{number}"), 1), Ticket::of(1), ip(9));
            assert!(forgotten(&mut producers).is_some_and(|(_, sender)| sender == Some(ip(9))));
        }
        // Of senders with one each it is the one that was silent for longest.
        (1..5).for_each(|number| producers.came(&format!("found-{number}"), ip(u8::try_from(number).unwrap())));
        producers.took(&numbered("z", 1), Ticket::of(1), ip(8));
        assert_eq!(forgotten(&mut producers), Some(("y-8".into(), Some(ip(9)))));
    }
}
