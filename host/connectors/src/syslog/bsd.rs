//! Parses the header of a message that is not RFC 5424: time, host and tag as in RFC 3164, and the variants of network devices: times with a
//! fraction, a year or a zone, and a counter or the host before the time.

use super::message::{Message, TimeReader};
use serde_json::{Value, json};
use std::borrow::Cow;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// Names of UTC.
const UTC: [&str; 4] = ["UTC", "GMT", "Z", "UCT"];
/// Maximum characters of a zone's name.
const ZONE_BYTES_MAX: usize = 5;
/// Maximum characters of a program's name; a longer one is part of the message.
const TAG_BYTES_MAX: usize = 128;
/// Maximum digits of a counter before a message.
const COUNTER_BYTES_MAX: usize = 20;
/// Beginnings of messages that `syslogd` itself writes without a host.
const REPEATED: [&str; 2] = ["last message repeated ", "message repeated "];

/// The time of a message, and the text after it.
struct HeaderTime<'a> {
    text: Cow<'a, str>,
    us: i64,
    rest_after: &'a str,
}

/// Parses `TIME HOST APP[PID]: MESSAGE`, in which every part is optional. `now`: year and month of receipt.
pub fn read<'a>(text: &'a str, now: (i32, usize), times: &TimeReader) -> Message<'a> {
    let DeviceHeader { counter, host, time, rest } = device_header(text, now, times);
    let mut message = Message { host, data: counter.map_or(Value::Null, counter_data), ..Message::default() };
    let mut rest = rest;
    if let Some(HeaderTime { text, us, rest_after }) = time {
        message.time = Some((text, us));
        rest = match rest_after.strip_prefix(':') {
            // A colon ends the header: no host follows.
            Some(rest) => rest.trim_start_matches(' '),
            None => {
                let rest_after = rest_after.strip_prefix(' ').unwrap_or(rest_after);
                let (found, rest) = host_of(rest_after);
                message.host = message.host.or(found);
                rest
            }
        };
    }
    if let Some((app, pid, rest_after)) = tag(rest) {
        (message.app, message.pid) = (Some(app), pid);
        rest = rest_after;
    }
    Message { message: rest, ..message }
}

/// Returns a counter as structured data with the name from RFC 5424.
fn counter_data(counter: &str) -> Value {
    json!({ "meta": { "sequenceId": counter } })
}

/// What devices write before the other parts.
struct DeviceHeader<'a> {
    counter: Option<&'a str>,
    host: Option<&'a str>,
    time: Option<HeaderTime<'a>>,
    rest: &'a str,
}

/// Parses `COUNTER: HOST: *TIME: `, in which every part is optional. The host is only accepted before a time and a `%`, as it would otherwise look
/// like a tag.
fn device_header<'a>(text: &'a str, now: (i32, usize), times: &TimeReader) -> DeviceHeader<'a> {
    let begin = text.trim_start_matches(' ');
    let time = |text: &'a str| header_time(text.trim_start_matches(['*', '.']), now, times);
    let (counter, rest_after) = match counter(begin) {
        Some((counter, rest_after)) => (Some(counter).filter(|counter| !counter.is_empty()), Some(rest_after)),
        None => (None, None),
    };
    let rest = rest_after.unwrap_or(begin);
    if let Some(found) = time(rest) {
        return DeviceHeader { counter, host: None, time: Some(found), rest };
    }
    if let Some((host, rest_after)) = rest.split_once(':')
        && !host.is_empty()
        && !host.contains([' ', '[', '%'])
        && let Some(found) = time(rest_after.strip_prefix(' ').unwrap_or(rest_after))
        && found
            .rest_after
            .strip_prefix(':')
            .is_some_and(|rest| counter.is_some() || rest.trim_start().starts_with('%'))
    {
        return DeviceHeader { counter, host: Some(host), time: Some(found), rest };
    }
    match rest.starts_with('%') {
        true => DeviceHeader { counter, host: None, time: None, rest },
        false => DeviceHeader { counter: None, host: None, time: None, rest: text },
    }
}

/// Parses `45: `, or only the colon. Returns also the text after it.
fn counter(text: &str) -> Option<(&str, &str)> {
    let (number, rest_after) = text.split_once(':')?;
    let fits = number.len() <= COUNTER_BYTES_MAX && number.bytes().all(|byte| byte.is_ascii_digit());
    let rest_after = rest_after.strip_prefix(' ').filter(|_| fits)?;
    Some((number, rest_after.trim_start_matches(' ')))
}

/// Parses the host: a word that is not a tag. Not all senders include one.
fn host_of(text: &str) -> (Option<&str>, &str) {
    match text.split_once(' ') {
        Some((word, rest_after))
            if !word.is_empty()
                && (!word.contains([':', '[']) || is_address(word))
                && !REPEATED.iter().any(|phrase| text.starts_with(phrase)) =>
        {
            // A single colon ends the header.
            (Some(word), rest_after.strip_prefix(": ").unwrap_or(rest_after))
        }
        _ => (None, text),
    }
}

/// Parses `Nov 22 19:35:58`, optionally with a year, a fraction and a zone, or a time as in RFC 3339.
fn header_time<'a>(text: &'a str, now: (i32, usize), times: &TimeReader) -> Option<HeaderTime<'a>> {
    rfc_3339(text, times).or_else(|| textual_time(text, now, times))
}

/// Parses a time as in RFC 3339. A space may separate day, time and zone, and a comma the fraction.
fn rfc_3339<'a>(text: &'a str, times: &TimeReader) -> Option<HeaderTime<'a>> {
    let end = text.find(' ')?;
    // Day and time are one word, or two.
    let end = if end == 10 { 11 + text.get(11..)?.find(' ')? } else { end };
    let word = text.get(..end).filter(|word| word.len() >= 19)?;
    let word = word.strip_suffix(':').unwrap_or(word);
    let mut rest_after = text.get(word.len()..)?;
    let mut time = if word.contains(',') { Cow::Owned(word.replacen(',', ".", 1)) } else { Cow::Borrowed(word) };
    if word.get(11..)?.bytes().all(is_clock_byte)
        && let Some((zone, rest)) = zone_of(rest_after)
    {
        time = Cow::Owned(format!("{time}{zone}"));
        rest_after = rest;
    }
    let us = times.read(&time)?;
    Some(HeaderTime { text: time, us, rest_after })
}

/// Returns whether the byte may be part of a time of day.
fn is_clock_byte(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b',')
}

/// Parses `[YEAR ]Nov 22 [YEAR ]19:35:58[.123][[ ]ZONE][ YEAR][ ZONE]`, optionally with the day of the week before it.
fn textual_time<'a>(text: &'a str, now: (i32, usize), times: &TimeReader) -> Option<HeaderTime<'a>> {
    let (mut year, mut rest) = year_of(text).map_or((None, text), |(year, rest)| (Some(year), rest));
    if let Some((_, rest_after)) = next_word(rest).filter(|(word, _)| WEEKDAYS.contains(word)) {
        rest = rest_after;
    }
    let (month, rest) = next_word(rest)?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let (day, mut rest) = next_word(rest.trim_start_matches(' '))?;
    let day = day.parse::<u8>().ok().filter(|_| day.len() <= 2)?;
    if let Some((found, rest_after)) = year_of(rest).filter(|_| year.is_none()) {
        (year, rest) = (Some(found), rest_after);
    }
    let time_end = rest.bytes().position(|byte| !is_clock_byte(byte)).unwrap_or(rest.len());
    let time_of_day = rest.get(..time_end)?;
    let time_of_day = time_of_day.strip_suffix(':').unwrap_or(time_of_day);
    let mut rest = rest.get(time_of_day.len()..)?;
    let mut zone = None;
    let adjacent =
        || rest.strip_prefix('Z').map(|rest_after| (Cow::from("Z"), rest_after)).or_else(|| offset_of(rest, 2));
    if let Some((found, rest_after)) = adjacent().or_else(|| zone_of(rest)) {
        (zone, rest) = (Some(found), rest_after);
    }
    if !rest.is_empty() && !rest.starts_with([' ', ':']) {
        return None;
    }
    if year.is_none()
        && let Some((found, rest_after)) = rest.strip_prefix(' ').and_then(year_of)
    {
        // The rest after a year begins with a space, as after a time.
        (year, rest) = (Some(found), rest.get(rest.len() - rest_after.len() - 1..)?);
    }
    // A zone may be the last part.
    if zone.is_none()
        && let Some((found, rest_after)) = zone_of(rest)
    {
        (zone, rest) = (Some(found), rest_after);
    }
    let zone = zone.unwrap_or_default();
    let year = year.unwrap_or_else(|| likely_year(month, now));
    let time = format!("{year:04}-{month:02}-{day:02}T{}{zone}", time_of_day.replace(',', "."));
    let us = times.read(&time)?;
    Some(HeaderTime { text: Cow::Owned(time), us, rest_after: rest })
}

/// Returns the year of a time without one. A time of January received in December is in the next year, and vice versa.
fn likely_year(month: usize, (year, this_month): (i32, usize)) -> i32 {
    match (month, this_month) {
        (1, 12) => year + 1,
        (12, 1) => year - 1,
        _ => year,
    }
}

/// Parses a year at the beginning. Returns also the text after the space that follows.
fn year_of(text: &str) -> Option<(i32, &str)> {
    let (word, rest_after) = next_word(text)?;
    let year = word.strip_suffix(':').unwrap_or(word);
    let fits = year.len() == 4 && word.len() == 4 && (year.starts_with("19") || year.starts_with("20"));
    Some((year.parse().ok().filter(|_| fits)?, rest_after))
}

/// Parses a zone after a time of day. Returns it in the form of RFC 3339, and the text after it. The names of zones other than UTC are ambiguous.
/// They are only skipped if nothing but a zone is possible: before the `: %` of a device, or a year.
fn zone_of(text: &str) -> Option<(Cow<'static, str>, &str)> {
    let rest = text.strip_prefix(' ')?;
    if let Some(found) = offset_of(rest, 2) {
        return Some(found);
    }
    // For example `UTC+2`.
    let after_name =
        UTC.iter().find_map(|name| rest.strip_prefix(name).filter(|rest_after| rest_after.starts_with(['+', '-'])));
    if let Some(found) = after_name.and_then(|rest_after| offset_of(rest_after, 1)) {
        return Some(found);
    }
    let end = rest.find([' ', ':']).unwrap_or(rest.len());
    let (word, rest_after) = rest.split_at_checked(end)?;
    if UTC.contains(&word) {
        return Some(("Z".into(), rest_after));
    }
    let is_zone_name = (1..=ZONE_BYTES_MAX).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_unambiguous = rest_after.starts_with(": %") || rest_after.strip_prefix(' ').and_then(year_of).is_some();
    (is_zone_name && is_unambiguous).then_some(("".into(), rest_after))
}

/// Parses `+01:00`, `+0100` or `+01`, with at least `digits_min` digits of hours. Returns it in the form of RFC 3339, and the text after it.
fn offset_of(text: &str, digits_min: usize) -> Option<(Cow<'static, str>, &str)> {
    let (sign, digits_text) = text.split_at_checked(1).filter(|(sign, _)| matches!(*sign, "+" | "-"))?;
    let digits = digits_text.bytes().take_while(u8::is_ascii_digit).count();
    let (hours, rest_after) = digits_text.split_at_checked(if digits == 4 { 2 } else { digits })?;
    let ends = |rest: &str| rest.is_empty() || rest.starts_with([' ', ':']);
    // The colon may also end the header.
    let minutes = if digits == 4 { Some(rest_after) } else { rest_after.strip_prefix(':') };
    let (minutes, rest) = minutes
        .and_then(|text| text.split_at_checked(2))
        .filter(|(minutes, rest)| minutes.bytes().all(|byte| byte.is_ascii_digit()) && ends(rest))
        .unwrap_or(("00", rest_after));
    let found = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
    let fits = found.0 < 24 && found.1 < 60 && hours.len() >= digits_min && ends(rest);
    fits.then(|| (format!("{sign}{:02}:{:02}", found.0, found.1).into(), rest))
}

/// Returns the word before the next space, and the text after it.
fn next_word(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ')
}

/// Returns whether the word is an IPv6 address, and not a tag.
fn is_address(word: &str) -> bool {
    word.parse::<std::net::IpAddr>().is_ok()
}

/// Parses `app[pid]: `. Returns also the text after it. A number is not a program name.
fn tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = text.find(|c: char| c == ':' || c == '[' || c.is_whitespace())?;
    let (app, rest) = text.split_at_checked(end).filter(|(app, _)| (1..=TAG_BYTES_MAX).contains(&app.len()))?;
    if app.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (pid, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (pid, rest) = rest.split_once(']').filter(|(pid, _)| pid.len() <= TAG_BYTES_MAX)?;
            (Some(pid), rest)
        }
        None => (None, rest),
    };
    let rest = rest.strip_prefix(':')?;
    Some((app, pid, rest.strip_prefix(' ').unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns time, host, app, pid, message and counter.
    fn parts(text: &str) -> String {
        let found = read(text, (2026, 11), &TimeReader::new());
        let time = found.time.as_ref().map_or("-", |(text, _)| text);
        let counter = found.data["meta"]["sequenceId"].as_str().unwrap_or("-").to_owned();
        let all = [time, found.host.unwrap_or("-"), found.app.unwrap_or("-"), found.pid.unwrap_or("-"), found.message];
        format!("{}|{counter}", all.join("|"))
    }

    #[test]
    fn what_devices_write_in_front_is_read() {
        for (text, expected) in [
            ("Oct 11 22:14:15.003 mymachine su[231]: x", "2026-10-11T22:14:15.003|mymachine|su|231|x|-"),
            ("Oct 11 22:14:15,003 mymachine su: x", "2026-10-11T22:14:15.003|mymachine|su|-|x|-"),
            ("Nov 22 01:02:03 2026 fw1 app: with year", "2026-11-22T01:02:03|fw1|app|-|with year|-"),
            ("Nov 22 2025 01:02:03 fw1 : %ASA-6-302013: Built", "2025-11-22T01:02:03|fw1|%ASA-6-302013|-|Built|-"),
            ("Nov 22 2025 01:02:03: %ASA-6-302013: Built", "2025-11-22T01:02:03|-|%ASA-6-302013|-|Built|-"),
            ("2024 Apr  1 09:46:57 fw1 app: x", "2024-04-01T09:46:57|fw1|app|-|x|-"),
            (
                "45: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured",
                "2026-03-01T18:46:11.123|-|%SYS-5-CONFIG_I|-|Configured|45",
            ),
            ("45: sw1: Mar  1 18:46:11: %SYS-5-CONFIG_I: x", "2026-03-01T18:46:11|sw1|%SYS-5-CONFIG_I|-|x|45"),
            ("000045: .Mar  1 18:46:11.1 UTC: %A-5-B: x", "2026-03-01T18:46:11.1Z|-|%A-5-B|-|x|000045"),
            (": 2020 Apr  1 09:46:57 CET: %ETH-5-PORT: down", "2020-04-01T09:46:57|-|%ETH-5-PORT|-|down|-"),
            ("NET03A: 2020 Apr  1 09:47:07 CET: %ETH-5-X: y", "2020-04-01T09:47:07|NET03A|%ETH-5-X|-|y|-"),
            (
                "45: RP/0/RSP0/CPU0:Jan  1 12:00:00.1 UTC: bgp[10]: %ROUTING-BGP-5-X: y",
                "2026-01-01T12:00:00.1Z|RP/0/RSP0/CPU0|bgp|10|%ROUTING-BGP-5-X: y|45",
            ),
            ("45: %SYS-5-CONFIG_I: x", "-|-|%SYS-5-CONFIG_I|-|x|45"),
            ("45: 00:00:46: %LINK-3-UPDOWN: x", "-|-|-|-|45: 00:00:46: %LINK-3-UPDOWN: x|-"),
            ("45: sw1: hello", "-|-|-|-|45: sw1: hello|-"),
            ("45: 2026-11-22T01:02:03Z: %A-1-B: x", "2026-11-22T01:02:03Z|-|%A-1-B|-|x|45"),
            (" Sep 8 18:11:57 ISE-1 CISE_Failed 0002 1 0 x", "2026-09-08T18:11:57|ISE-1|-|-|CISE_Failed 0002 1 0 x|-"),
            ("Sep 08 18:11:57 h CISE: y", "2026-09-08T18:11:57|h|CISE|-|y|-"),
            ("Sun Nov 22 01:02:03 UTC 2026 h a: x", "2026-11-22T01:02:03Z|h|a|-|x|-"),
            ("Nov 22 01:02:03 +01:00 h a: x", "2026-11-22T01:02:03+01:00|h|a|-|x|-"),
            ("Oct 11 22:14:15 +0200 h su: x", "2026-10-11T22:14:15+02:00|h|su|-|x|-"),
            ("Oct 11 22:14:15.5 -0330 h su: x", "2026-10-11T22:14:15.5-03:30|h|su|-|x|-"),
            ("Oct 11 22:14:15 -05 h su: x", "2026-10-11T22:14:15-05:00|h|su|-|x|-"),
            ("Oct 11 22:14:15+0200 h su: x", "2026-10-11T22:14:15+02:00|h|su|-|x|-"),
            ("Oct 11 22:14:15Z h su: x", "2026-10-11T22:14:15Z|h|su|-|x|-"),
            ("Oct 11 22:14:15 GMT+2 h su: x", "2026-10-11T22:14:15+02:00|h|su|-|x|-"),
            ("Oct 11 22:14:15 UTC-05:00 h su: x", "2026-10-11T22:14:15-05:00|h|su|-|x|-"),
            ("Oct 11 22:14:15 +0200: %A-5-B: x", "2026-10-11T22:14:15+02:00|-|%A-5-B|-|x|-"),
            ("Oct 11 22:14:15 +02: hello", "2026-10-11T22:14:15+02:00|-|-|-|hello|-"),
            ("Oct 11 22:14:15 2025 UTC h su: x", "2025-10-11T22:14:15Z|h|su|-|x|-"),
            ("Oct 11 22:14:15 2025 +0200 h su: x", "2025-10-11T22:14:15+02:00|h|su|-|x|-"),
            ("Oct 11 22:14:15 +0200 2025 h su: x", "2025-10-11T22:14:15+02:00|h|su|-|x|-"),
            ("Oct 11 2025 22:14:15 CET: %A-5-B: x", "2025-10-11T22:14:15|-|%A-5-B|-|x|-"),
            ("Oct 11 22:14:15 2025 CET: %A-5-B: x", "2025-10-11T22:14:15|-|%A-5-B|-|x|-"),
            ("Oct 11 22:14:15 -9999 h su: x", "2026-10-11T22:14:15|-9999|-|-|h su: x|-"),
            ("Oct 11 22:14:15 -1 h su: x", "2026-10-11T22:14:15|-1|-|-|h su: x|-"),
            ("2026-10-11 22:14:15.123 +0200 h su: x", "2026-10-11 22:14:15.123+02:00|h|su|-|x|-"),
            ("2026-10-11 22:14:15,123 +02:00 h su: x", "2026-10-11 22:14:15.123+02:00|h|su|-|x|-"),
            ("2026-10-11T22:14:15 -05 h su: x", "2026-10-11T22:14:15-05:00|h|su|-|x|-"),
            ("2026-10-11 22:14:15 UTC h su: x", "2026-10-11 22:14:15Z|h|su|-|x|-"),
            ("2026-10-11T22:14:15 CET: %A-5-B: x", "2026-10-11T22:14:15|-|%A-5-B|-|x|-"),
            ("2026-10-11T22:14:15,003+0200 h su: x", "2026-10-11T22:14:15.003+0200|h|su|-|x|-"),
            ("2026-10-11T22:14:15,003Z h su: x", "2026-10-11T22:14:15.003Z|h|su|-|x|-"),
            ("2026-10-11T22:14:15Z UTC su: x", "2026-10-11T22:14:15Z|UTC|su|-|x|-"),
            ("Nov 22 01:02:03 CET a: x", "2026-11-22T01:02:03|CET|a|-|x|-"),
            ("2026-11-22 01:02:03.5 h a: x", "2026-11-22 01:02:03.5|h|a|-|x|-"),
            (
                "Nov 22 01:02:03 last message repeated 2 times",
                "2026-11-22T01:02:03|-|-|-|last message repeated 2 times|-",
            ),
            ("Nov 22 01:02:03: hello world", "2026-11-22T01:02:03|-|-|-|hello world|-"),
            ("myapp: 2026-11-22T01:02:03Z starting", "-|-|myapp|-|2026-11-22T01:02:03Z starting|-"),
            ("45: hello", "-|-|-|-|45: hello|-"),
            ("45", "-|-|-|-|45|-"),
            ("Nov 22 01:02:03", "2026-11-22T01:02:03|-|-|-||-"),
            ("Nov 22 01:02:03x h a: x", "-|-|-|-|Nov 22 01:02:03x h a: x|-"),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn offsets_move_the_time() {
        for text in [
            "Oct 11 22:14:15 +0200 h su: x",
            "Oct 11 22:14:15 2026 GMT+2 h su: x",
            "2026-10-11 22:14:15 +0200 h su: x",
            "2026-10-11T22:14:15,000+0200 h su: x",
            "2026-10-11T20:14:15 UTC h su: x",
        ] {
            let found = read(text, (2026, 11), &TimeReader::new());
            assert_eq!(found.time_us(), Some(1_791_749_655_000_000), "{text}");
        }
    }

    #[test]
    fn a_time_without_a_year_is_near_to_when_it_came() {
        assert_eq!(likely_year(12, (2027, 1)), 2026);
        assert_eq!(likely_year(1, (2026, 12)), 2027);
        assert_eq!(likely_year(1, (2026, 11)), 2026);
    }
}
