//! Time zones: conversions between instants and local time. Times are microseconds since 1970, in UTC for instants, and as if in UTC for local time.

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use std::fmt;

/// A day in microseconds.
const DAY_US: i64 = 86_400_000_000;

/// A zone of the IANA database, which is built in: `Europe/Berlin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// Returns the zone of this name.
    pub fn named(name: &str) -> Option<Zone> {
        name.parse().ok().map(Zone)
    }

    /// Returns the names of all zones.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// Returns the local time at an instant.
    pub fn local_us(self, us: i64) -> i64 {
        // Beyond the range of the calendar, local time is UTC.
        let Some(moment) = DateTime::<Utc>::from_timestamp_micros(us) else { return us };
        let offset = self.0.offset_from_utc_datetime(&moment.naive_utc()).fix();
        us.saturating_add(i64::from(offset.local_minus_utc()) * 1_000_000)
    }

    /// Returns the instant of a local time. If it occurs twice, as clocks are set back, the earlier one. `None` if it never occurs, as clocks are
    /// set forward over it.
    pub fn moment_us(self, local: NaiveDateTime) -> Option<i64> {
        match self.0.from_local_datetime(&local) {
            LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => Some(moment.timestamp_micros()),
            LocalResult::None => None,
        }
    }

    /// Returns the first instant at which local time is this or later.
    pub fn reached_us(self, local_us: i64) -> i64 {
        let Some(local) = DateTime::<Utc>::from_timestamp_micros(local_us) else { return local_us };
        if let Some(moment) = self.moment_us(local.naive_utc()) {
            return moment;
        }
        // Clocks are set forward over it, within a day of that instant in UTC and with no other change so near.
        let (mut before, mut at) = (local_us.saturating_sub(DAY_US), local_us.saturating_add(DAY_US));
        while before.saturating_add(1) < at {
            let middle = before + (at - before) / 2;
            if self.local_us(middle) >= local_us {
                at = middle;
            } else {
                before = middle;
            }
        }
        at
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn clocks_are_set_forward_and_back() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        assert_eq!(berlin.local_us(us("2026-03-29T00:59:59Z")), us("2026-03-29T01:59:59Z"));
        assert_eq!(berlin.local_us(us("2026-03-29T01:00:00Z")), us("2026-03-29T03:00:00Z"));
        let naive = |text: &str| text.parse::<NaiveDateTime>().unwrap();
        assert_eq!(berlin.moment_us(naive("2026-03-29T02:30:00")), None);
        assert_eq!(berlin.moment_us(naive("2026-10-25T02:30:00")), Some(us("2026-10-25T00:30:00Z")));
        assert_eq!(berlin.reached_us(us("2026-03-29T02:30:00Z")), us("2026-03-29T01:00:00Z"));
        assert_eq!(berlin.reached_us(us("2026-10-26T00:00:00Z")), us("2026-10-25T23:00:00Z"));
        // A full day was skipped there.
        let apia = Zone::named("Pacific/Apia").unwrap();
        assert_eq!(apia.reached_us(us("2011-12-30T00:00:00Z")), us("2011-12-30T10:00:00Z"));
        assert_eq!(apia.reached_us(us("2011-12-31T00:00:00Z")), us("2011-12-30T10:00:00Z"));
        for end in [i64::MIN, i64::MAX] {
            assert_eq!((berlin.local_us(end), berlin.reached_us(end)), (end, end));
        }
        assert!(Zone::named("Europe/Berlim").is_none());
    }
}
