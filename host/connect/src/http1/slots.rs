//! Limits the connections of a listener. If all slots are taken, a connection that has not shown a token is closed for the next one: of the address
//! with the most connections, the one that has been idle for longest. A connection that has shown a token keeps its slot. One that only speaks the
//! protocol keeps it from addresses with the same number of connections.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// How long a new connection keeps its slot in any case, so that it can show a token.
const STRANGER_TIME_MIN: Duration = Duration::from_millis(200);

/// What a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustLevel {
    /// Nothing yet, or it is idle. It is closed for any other connection.
    Stranger,
    /// It speaks the protocol, without a token. It is closed only for an address that has fewer, also with the new one.
    Guest,
    /// It has shown a token, or its rows wait for a batch. It is not closed.
    Known,
}

/// All slots of a listener.
pub struct Slots {
    max: usize,
    slot_table: Mutex<SlotTable>,
    freed: Notify,
}

#[derive(Default)]
struct SlotTable {
    by_id: BTreeMap<u64, SlotEntry>,
    last: u64,
    closed: ClosedConnections,
}

/// Connections that were closed for others since the last call of `take_closed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClosedConnections {
    /// Number of connections.
    pub count: u64,
    /// Address of the last one.
    pub last: Option<IpAddr>,
}

struct SlotEntry {
    from: IpAddr,
    trust_level: TrustLevel,
    since: Instant,
    /// Notifies the connection that it must end.
    end: watch::Sender<bool>,
}

/// The slot of one connection, until it is dropped.
pub struct Slot {
    slots: Arc<Slots>,
    id: u64,
    ended: watch::Receiver<bool>,
}

impl Slots {
    /// Creates slots for at most `max` connections.
    pub fn new(max: u64) -> Arc<Slots> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Arc::new(Slots { max, slot_table: Mutex::default(), freed: Notify::new() })
    }

    /// Returns a slot for a connection from this address, if one is free or can be freed.
    pub fn take(self: &Arc<Self>, from: IpAddr) -> Option<Slot> {
        let from = sender(from);
        let mut slot_table = self.lock_slots();
        if slot_table.by_id.len() >= self.max {
            let id = slot_table.slot_to_free(from)?;
            if let Some(slot) = slot_table.by_id.remove(&id) {
                slot.end.send_replace(true);
                slot_table.closed = ClosedConnections { count: slot_table.closed.count + 1, last: Some(slot.from) };
            }
        }
        slot_table.last += 1;
        let (id, (end, ended)) = (slot_table.last, watch::channel(false));
        slot_table.by_id.insert(id, SlotEntry { from, trust_level: TrustLevel::Stranger, since: Instant::now(), end });
        Some(Slot { slots: self.clone(), id, ended })
    }

    /// Returns how many connections of this sender have slots.
    pub fn count_of(&self, from: IpAddr) -> usize {
        let from = sender(from);
        self.lock_slots().by_id.values().filter(|slot| slot.from == from).count()
    }

    /// Returns and resets the connections that were closed for others.
    pub fn take_closed(&self) -> ClosedConnections {
        std::mem::take(&mut self.lock_slots().closed)
    }

    /// Waits until a slot has become free.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    fn lock_slots(&self) -> MutexGuard<'_, SlotTable> {
        // No operation under the lock can leave the state inconsistent.
        self.slot_table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotTable {
    /// Returns the connection to close for one from this address.
    fn slot_to_free(&self, from: IpAddr) -> Option<u64> {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        self.by_id.values().for_each(|slot| *counts.entry(slot.from).or_default() += 1);
        let count = |slot: &SlotEntry| counts.get(&slot.from).copied().unwrap_or_default();
        let first = |may: &dyn Fn(&SlotEntry) -> bool| {
            let may = self.by_id.iter().filter(|(_, slot)| may(slot));
            may.max_by_key(|(_, slot)| (count(slot), Reverse(slot.since))).map(|(id, _)| *id)
        };
        let stranger =
            first(&|slot| slot.trust_level == TrustLevel::Stranger && slot.since.elapsed() >= STRANGER_TIME_MIN);
        let own = counts.get(&from).copied().unwrap_or_default();
        // An address without a slot gets its share even if many addresses hold all slots. No connection is closed for an equal one.
        stranger.or_else(|| first(&|slot| slot.trust_level == TrustLevel::Guest && count(slot) > own + 1))
    }
}

impl Slot {
    /// Sets what the connection has shown, and counts its idle time from now.
    pub fn set_trust_level(&self, trust_level: TrustLevel) {
        if let Some(slot) = self.slots.lock_slots().by_id.get_mut(&self.id) {
            (slot.trust_level, slot.since) = (trust_level, Instant::now());
        }
    }

    /// Returns when the connection has to end, because another one has its slot.
    pub async fn ended(&self) {
        // An error means that the slot was lost as well.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock_slots().by_id.remove(&self.id);
        self.slots.freed.notify_one();
    }
}

/// Returns the unit by which connections are counted: the IPv4 address, or the /64 network of an IPv6 address.
pub fn sender(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) >> 64 << 64)),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_ended(slot: &Slot) -> bool {
        *slot.ended.borrow()
    }

    /// Makes all connections older by this much.
    fn age(slots: &Slots, by: Duration) {
        slots.lock_slots().by_id.values_mut().for_each(|slot| slot.since -= by);
    }

    #[test]
    fn a_stranger_makes_room_and_who_is_known_does_not() {
        let slots = Slots::new(3);
        let all: Vec<Slot> = (0..3).map(|_| slots.take(ip("10.0.0.1")).unwrap()).collect();
        assert!(slots.take(ip("10.0.0.1")).is_none(), "they have time to say who they are");
        all[0].set_trust_level(TrustLevel::Known);
        age(&slots, STRANGER_TIME_MIN);
        let next = slots.take(ip("10.0.0.1")).unwrap();
        assert_eq!(all.iter().map(is_ended).collect::<Vec<_>>(), [false, true, false]);
        next.set_trust_level(TrustLevel::Known);
        all[2].set_trust_level(TrustLevel::Known);
        age(&slots, STRANGER_TIME_MIN);
        assert!(slots.take(ip("10.0.0.2")).is_none());
        drop(all);
        assert!(slots.take(ip("10.0.0.2")).is_some());
    }

    #[test]
    fn the_address_that_has_most_makes_room() {
        let slots = Slots::new(4);
        let first = slots.take(ip("10.0.0.9")).unwrap();
        let most: Vec<Slot> = (0..3).map(|_| slots.take(ip("::ffff:10.0.0.1")).unwrap()).collect();
        age(&slots, STRANGER_TIME_MIN);
        let _next = slots.take(ip("10.0.0.2")).unwrap();
        assert!(!is_ended(&first) && is_ended(&most[0]));
        // IPv6 networks count as one address.
        assert_eq!(sender(ip("2001:db8::1")), sender(ip("2001:db8::ffff:2")));
        assert_ne!(sender(ip("2001:db8::1")), sender(ip("2001:db8:0:1::1")));
    }

    #[test]
    fn guests_make_room_where_their_address_has_more_places() {
        let slots = Slots::new(4);
        let guests: Vec<Slot> = (0..4).map(|_| slots.take(ip("10.0.0.1")).unwrap()).collect();
        guests.iter().for_each(|guest| guest.set_trust_level(TrustLevel::Guest));
        assert!(slots.take(ip("10.0.0.1")).is_none());
        let other = slots.take(ip("10.0.0.2")).unwrap();
        other.set_trust_level(TrustLevel::Guest);
        assert!(is_ended(&guests[0]) && !is_ended(&guests[1]));
        let second = slots.take(ip("10.0.0.2")).unwrap();
        second.set_trust_level(TrustLevel::Guest);
        assert!(is_ended(&guests[1]) && !is_ended(&guests[2]));
        assert!(slots.take(ip("10.0.0.2")).is_none(), "its share is no smaller");
        assert!(slots.take(ip("10.0.0.1")).is_none(), "nor is that one's");
        assert_eq!(slots.take_closed(), ClosedConnections { count: 2, last: Some(ip("10.0.0.1")) });
        assert_eq!(slots.take_closed(), ClosedConnections::default());
        drop(other);
        assert!(slots.take(ip("10.0.0.1")).is_some());
    }

    #[test]
    fn several_addresses_together_keep_nobody_out() {
        for addresses in [2, 3, 30] {
            let slots = Slots::new(60);
            let crowd: Vec<Slot> =
                (0..60).map(|n| slots.take(IpAddr::from([10, 0, 0, n % addresses])).unwrap()).collect();
            crowd.iter().for_each(|guest| guest.set_trust_level(TrustLevel::Guest));
            let other = slots.take(ip("10.0.1.1")).unwrap();
            other.set_trust_level(TrustLevel::Guest);
            assert!(slots.take(ip("10.0.0.1")).is_none() && !is_ended(&other), "{addresses}");
        }
    }
}
