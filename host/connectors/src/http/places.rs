//! Limits the connections of a listener. If all places are taken, a connection that has not shown a token is closed for the next
//! one: of the address with the most connections, the one that has been idle for longest. One that has shown a token keeps its place,
//! and one that speaks the protocol keeps it from addresses that have as many.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// How long a new connection keeps its place in any case, so that it can show a token.
const STRANGER_TIME_MIN: Duration = Duration::from_millis(200);

/// What a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet, or it is idle. It is closed for any other connection.
    Stranger,
    /// It speaks the protocol, without a token. It is closed only for an address that has fewer, also with the new one.
    Guest,
    /// It has shown a token, or its rows wait for a batch. It is not closed.
    Known,
}

/// All places of a listener.
pub struct Places {
    max: usize,
    held: Mutex<HeldPlaces>,
    freed: Notify,
}

#[derive(Default)]
struct HeldPlaces {
    by_id: BTreeMap<u64, HeldPlace>,
    last: u64,
    closed: ClosedConnections,
}

/// Connections that were closed for others, since somebody last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClosedConnections {
    /// How many.
    pub count: u64,
    /// Where the last one came from.
    pub last: Option<IpAddr>,
}

struct HeldPlace {
    from: IpAddr,
    standing: Standing,
    since: Instant,
    /// Tells the connection to end.
    end: watch::Sender<bool>,
}

/// The place of one connection, until it is dropped.
pub struct Place {
    places: Arc<Places>,
    id: u64,
    ended: watch::Receiver<bool>,
}

impl Places {
    /// With a maximum.
    pub fn new(max: u64) -> Arc<Places> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Arc::new(Places { max, held: Mutex::default(), freed: Notify::new() })
    }

    /// A place for a connection from this address, if one is free or can be freed.
    pub fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = sender(from);
        let mut held = self.held();
        if held.by_id.len() >= self.max {
            let id = held.makes_room(from)?;
            if let Some(place) = held.by_id.remove(&id) {
                place.end.send_replace(true);
                held.closed = ClosedConnections { count: held.closed.count + 1, last: Some(place.from) };
            }
        }
        held.last += 1;
        let (id, (end, ended)) = (held.last, watch::channel(false));
        held.by_id.insert(id, HeldPlace { from, standing: Standing::Stranger, since: Instant::now(), end });
        Some(Place { places: self.clone(), id, ended })
    }

    /// How many connections of this sender have places.
    pub fn of(&self, from: IpAddr) -> usize {
        let from = sender(from);
        self.held().by_id.values().filter(|place| place.from == from).count()
    }

    /// Those that were closed for others since this was last asked.
    pub fn take_closed(&self) -> ClosedConnections {
        std::mem::take(&mut self.held().closed)
    }

    /// A place has become free.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    fn held(&self) -> MutexGuard<'_, HeldPlaces> {
        // Nothing that is done under the lock can leave it half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldPlaces {
    /// The connection to close for one from this address.
    fn makes_room(&self, from: IpAddr) -> Option<u64> {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        self.by_id.values().for_each(|place| *counts.entry(place.from).or_default() += 1);
        let count = |place: &HeldPlace| counts.get(&place.from).copied().unwrap_or_default();
        let first = |may: &dyn Fn(&HeldPlace) -> bool| {
            let may = self.by_id.iter().filter(|(_, place)| may(place));
            may.max_by_key(|(_, place)| (count(place), Reverse(place.since))).map(|(id, _)| *id)
        };
        let stranger =
            first(&|place| place.standing == Standing::Stranger && place.since.elapsed() >= STRANGER_TIME_MIN);
        let own = counts.get(&from).copied().unwrap_or_default();
        // However many addresses hold all places, one that has none finds its share, and nobody is closed for an equal.
        stranger.or_else(|| first(&|place| place.standing == Standing::Guest && count(place) > own + 1))
    }
}

impl Place {
    /// Sets what the connection has shown, and counts its idle time from now.
    pub fn set_standing(&self, standing: Standing) {
        if let Some(place) = self.places.held().by_id.get_mut(&self.id) {
            (place.standing, place.since) = (standing, Instant::now());
        }
    }

    /// Returns when the connection has to end, because another one has its place.
    pub async fn ended(&self) {
        // An error means the same.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held().by_id.remove(&self.id);
        self.places.freed.notify_one();
    }
}

/// What connections are counted by: the IPv4 address, or the /64 network of an IPv6 address.
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

    fn is_ended(place: &Place) -> bool {
        *place.ended.borrow()
    }

    /// All that came so far is this much older.
    fn age(places: &Places, by: Duration) {
        places.held().by_id.values_mut().for_each(|place| place.since -= by);
    }

    #[test]
    fn a_stranger_makes_room_and_who_is_known_does_not() {
        let places = Places::new(3);
        let all: Vec<Place> = (0..3).map(|_| places.take(ip("10.0.0.1")).unwrap()).collect();
        assert!(places.take(ip("10.0.0.1")).is_none(), "they have time to say who they are");
        all[0].set_standing(Standing::Known);
        age(&places, STRANGER_TIME_MIN);
        let next = places.take(ip("10.0.0.1")).unwrap();
        assert_eq!(all.iter().map(is_ended).collect::<Vec<_>>(), [false, true, false]);
        next.set_standing(Standing::Known);
        all[2].set_standing(Standing::Known);
        age(&places, STRANGER_TIME_MIN);
        assert!(places.take(ip("10.0.0.2")).is_none());
        drop(all);
        assert!(places.take(ip("10.0.0.2")).is_some());
    }

    #[test]
    fn the_address_that_has_most_makes_room() {
        let places = Places::new(4);
        let first = places.take(ip("10.0.0.9")).unwrap();
        let most: Vec<Place> = (0..3).map(|_| places.take(ip("::ffff:10.0.0.1")).unwrap()).collect();
        age(&places, STRANGER_TIME_MIN);
        let _next = places.take(ip("10.0.0.2")).unwrap();
        assert!(!is_ended(&first) && is_ended(&most[0]));
        // Networks of version 6 count as a whole.
        assert_eq!(sender(ip("2001:db8::1")), sender(ip("2001:db8::ffff:2")));
        assert_ne!(sender(ip("2001:db8::1")), sender(ip("2001:db8:0:1::1")));
    }

    #[test]
    fn guests_make_room_where_their_address_has_more_places() {
        let places = Places::new(4);
        let guests: Vec<Place> = (0..4).map(|_| places.take(ip("10.0.0.1")).unwrap()).collect();
        guests.iter().for_each(|guest| guest.set_standing(Standing::Guest));
        assert!(places.take(ip("10.0.0.1")).is_none());
        let other = places.take(ip("10.0.0.2")).unwrap();
        other.set_standing(Standing::Guest);
        assert!(is_ended(&guests[0]) && !is_ended(&guests[1]));
        let second = places.take(ip("10.0.0.2")).unwrap();
        second.set_standing(Standing::Guest);
        assert!(is_ended(&guests[1]) && !is_ended(&guests[2]));
        assert!(places.take(ip("10.0.0.2")).is_none(), "its share is no smaller");
        assert!(places.take(ip("10.0.0.1")).is_none(), "nor is that one's");
        assert_eq!(places.take_closed(), ClosedConnections { count: 2, last: Some(ip("10.0.0.1")) });
        assert_eq!(places.take_closed(), ClosedConnections::default());
        drop(other);
        assert!(places.take(ip("10.0.0.1")).is_some());
    }

    #[test]
    fn several_addresses_together_keep_nobody_out() {
        for addresses in [2, 3, 30] {
            let places = Places::new(60);
            let crowd: Vec<Place> =
                (0..60).map(|n| places.take(IpAddr::from([10, 0, 0, n % addresses])).unwrap()).collect();
            crowd.iter().for_each(|guest| guest.set_standing(Standing::Guest));
            let other = places.take(ip("10.0.1.1")).unwrap();
            other.set_standing(Standing::Guest);
            assert!(places.take(ip("10.0.0.1")).is_none() && !is_ended(&other), "{addresses}");
        }
    }
}
