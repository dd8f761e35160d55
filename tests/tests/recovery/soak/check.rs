//! Compares the output of one copy of the job, row by row, with the expected output. It keeps what is missing, and no correct
//! row.

use super::feed::{CHARS_MAX, Fed, STEP_MS, USERS, is_paid, letters, now_ms};
use millstream_tests::kafka::Follower;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The plugin `ledger` closes an account with such an order.
const CLOSES: i64 = 17;
/// The length of a window.
pub const WINDOW_MS: i64 = 5_000;
/// Windows and unpaid orders that are younger than this at the end may be open.
const OPEN_MS: i64 = WINDOW_MS + 6_000;

/// The distance from one order of a user with the most letters to the next.
const FALLS_APART: i64 = USERS * (CHARS_MAX + 1);

/// The first order of a user that has the most letters.
fn first_fall(user: i64) -> i64 {
    (0..).map(|step| user + step * USERS).find(|order| letters(*order) == CHARS_MAX).unwrap_or(user)
}

/// Orders that were seen: all before `next`, and the named later ones.
#[derive(Default)]
struct Seen {
    next: i64,
    beyond: BTreeSet<i64>,
}

impl Seen {
    /// Whether this one is new.
    fn add(&mut self, order: i64) -> bool {
        let new = order >= self.next && self.beyond.insert(order);
        while self.beyond.remove(&self.next) {
            self.next += 1;
        }
        new
    }
}

/// Topics that a copy of the job writes, and what was in them.
pub struct Checker {
    accounts: Follower,
    paid: Follower,
    windows: Follower,
    falls: Follower,
    /// The last order of each user, and its rank in the account.
    accounts_of: BTreeMap<i64, (i64, i64)>,
    joined: Seen,
    /// The start of each user's next window.
    next_window: BTreeMap<i64, i64>,
    /// The order with which each user's next fall from the most letters to none begins.
    next_fall: BTreeMap<i64, i64>,
    /// From an order to the account that has it, in milliseconds.
    latencies: Vec<i64>,
}

impl Checker {
    pub fn new([accounts, paid, windows, falls]: [Follower; 4]) -> Checker {
        let (accounts_of, next_window, next_fall) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (joined, latencies) = (Seen::default(), Vec::new());
        Checker { accounts, paid, windows, falls, accounts_of, joined, next_window, next_fall, latencies }
    }

    /// Checks all rows that have arrived, and waits a moment for more.
    pub fn check(&mut self, fed: &Fed) {
        let time = Duration::from_millis(30);
        for row in rows(&self.accounts, time) {
            let (user, order) = (row["buyer"].number(), row["n"].number());
            let last = self.accounts_of.insert(user, (order, row["place"].number()));
            let (next, place) = last.map_or((user, 1), |(last, place)| (last + USERS, place + 1));
            assert_eq!(order, next, "user {user}: a row came twice, or was lost: {row}");
            let is_new = last.is_some_and(|(last, _)| last % CLOSES == 0);
            assert_eq!(row["place"].number(), if is_new { 1 } else { place }, "user {user}: {row}");
            self.latencies.push(now_ms() - fed.at_ms(order));
        }
        for row in rows(&self.paid, time) {
            let order = row["n"].number();
            assert!(self.joined.add(order), "the order came twice: {row}");
            assert_eq!(row["paid_at"].is_null(), !is_paid(order), "{row}");
            assert_eq!(row["letters"].number(), letters(order), "{row}");
        }
        for row in rows(&self.windows, time) {
            let (user, begin) = (row["buyer"].number(), row["begin"].number());
            let expected =
                self.next_window.get(&user).copied().unwrap_or_else(|| fed.at_ms(user) / WINDOW_MS * WINDOW_MS);
            assert_eq!(begin, expected, "not this user's next window: {row}");
            let orders = fed.orders_between(user, begin, begin + WINDOW_MS);
            assert_eq!(row["orders"].number(), orders, "{row}");
            self.next_window.insert(user, begin + WINDOW_MS);
        }
        for row in rows(&self.falls, time) {
            let (user, first) = (row["buyer"].number(), row["first"].number());
            let expected = self.next_fall.get(&user).copied().unwrap_or_else(|| first_fall(user));
            assert_eq!(first, expected, "not this user's next fall: {row}");
            assert_eq!((row["last"].number(), row["between"].number()), (first + 3 * USERS, 4 + 2), "{row}");
            self.next_fall.insert(user, first + FALLS_APART);
        }
    }

    /// Describes the output that is missing for the input so far; `None` if nothing is.
    pub fn missing(&self, fed: &Fed) -> Option<String> {
        let rows = fed.rows();
        let last_ms = fed.at_ms(rows - 1);
        let counted: i64 = self.accounts_of.iter().map(|(user, (order, _))| (order - user) / USERS + 1).sum();
        if counted != rows {
            return Some(format!("accounts have {counted} of {rows} orders"));
        }
        let decided = rows - OPEN_MS / STEP_MS;
        let joined = |order: &i64| *order < self.joined.next || self.joined.beyond.contains(order);
        let missing = (0..rows).skip(self.joined.next.max(0) as usize).find(|order| {
            let must = is_paid(*order) || *order < decided;
            must && !joined(order)
        });
        if let Some(order) = missing {
            return Some(format!("order {order} of {rows} was not joined"));
        }
        let has_fallen = |user: i64| {
            let next = self.next_fall.get(&user).copied().unwrap_or_else(|| first_fall(user));
            next + 3 * USERS >= decided
        };
        if let Some(user) = (0..USERS).find(|user| !has_fallen(*user)) {
            return Some(format!("a fall of user {user} did not come: the next is {:?}", self.next_fall.get(&user)));
        }
        let closed = (last_ms - OPEN_MS) / WINDOW_MS * WINDOW_MS;
        let behind = (0..USERS.min(rows)).find(|user| {
            let began = fed.at_ms(*user) / WINDOW_MS * WINDOW_MS;
            self.next_window.get(user).copied().unwrap_or(began) < closed
        });
        behind.map(|user| format!("user {user} has windows until {:?} of {closed}", self.next_window.get(&user)))
    }

    /// The latencies since the last call: their median and the 99th percentile, in milliseconds.
    pub fn latencies(&mut self) -> Option<(i64, i64)> {
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.sort_unstable();
        let last = latencies.len().checked_sub(1)?;
        Some((latencies[last / 2], latencies[last * 99 / 100]))
    }
}

fn rows(topic: &Follower, time: Duration) -> Vec<Value> {
    let row = |text: String| serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    topic.more(time).iter().map(|record| row(record.text())).collect()
}

trait Number {
    fn number(&self) -> i64;
}

impl Number for Value {
    #[track_caller]
    fn number(&self) -> i64 {
        self.as_i64().unwrap_or_else(|| panic!("{self} is no whole number"))
    }
}
