//! One message of syslog, as RFC 5424 or RFC 3164 writes it, as a line of JSON. Nothing that somebody sends is no message: what follows
//! neither is all `message`.

use crate::batch::column::ColumnSpec;
use crate::batch::times::TimeParser;
use crate::batch::types::ColumnType;
use crate::receiver::json_text::{text_of, write_text};
use serde_json::{Map, Value};

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Priority of what does not say one: `user.notice`.
const NO_PRIORITY: usize = 13;
/// Letters of the name of a program before it is taken for words of the message.
const TAG_BYTES_MAX: usize = 128;

/// Reads messages.
pub struct Reader {
    times: TimeParser,
    /// What a line says of each priority.
    priorities: Vec<String>,
}

/// Who sends: what each of their lines begins with.
pub struct Sender(Vec<u8>);

impl Sender {
    /// Of this name.
    pub fn new(name: &str) -> Sender {
        Sender(format!("{{\"sender\":{}", Value::from(name)).into_bytes())
    }
}

impl Reader {
    /// Of times as RFC 3339 has them.
    pub fn new() -> Reader {
        let mut priorities = Vec::new();
        for facility in FACILITIES {
            priorities.extend(SEVERITIES.iter().enumerate().map(|(level, severity)| {
                format!(",\"facility\":\"{facility}\",\"severity\":\"{severity}\",\"level\":{level}")
            }));
        }
        Reader { times: TimeParser::of(&ColumnSpec::new("time", ColumnType::Timestamp)), priorities }
    }

    /// Adds a message from this sender, which came at this time (year and month), as a line.
    pub fn write(&self, message: &[u8], sender: &Sender, now: (i32, usize), lines: &mut Vec<u8>) {
        let text = text_of(message);
        let text = text.trim_end_matches(['\n', '\r', '\0']);
        let mut fields = Fields(lines);
        fields.0.extend_from_slice(&sender.0);
        let (priority, rest) = priority(text).unwrap_or((NO_PRIORITY, text));
        fields.0.extend_from_slice(self.priorities.get(priority).map(String::as_bytes).unwrap_or_default());
        if rest.len() == text.len() || self.new_form(rest, &mut fields).is_none() {
            self.old_form(rest, &mut fields, now);
        }
        lines.extend_from_slice(b"}\n");
    }

    /// RFC 5424: `1 TIME HOST APP PID ID DATA MESSAGE`; `None`: it is not, and nothing is set.
    fn new_form(&self, text: &str, fields: &mut Fields) -> Option<()> {
        let (time, rest) = word(text.strip_prefix("1 ")?)?;
        let (host, rest) = word(rest)?;
        let (app, rest) = word(rest)?;
        let (pid, rest) = word(rest)?;
        let (id, rest) = word(rest)?;
        if given(time).is_some_and(|time| self.times.read(time).is_err()) {
            return None;
        }
        let (data, message) = structured(rest)?;
        fields.put_text(",\"host\":", given(host));
        fields.put_text(",\"app\":", given(app));
        fields.put_text(",\"pid\":", given(pid));
        fields.put_text(",\"id\":", given(id));
        fields.put_text(",\"time\":", given(time));
        fields.put_value(",\"data\":", &data);
        fields.put_text(",\"message\":", Some(message.strip_prefix('\u{feff}').unwrap_or(message)));
        Some(())
    }

    /// RFC 3164, or what is taken for it: `TIME HOST APP[PID]: MESSAGE`, of which anything may be missing.
    fn old_form(&self, text: &str, fields: &mut Fields, now: (i32, usize)) {
        let mut rest = text;
        if let Some((time, behind)) = self.old_time(rest, now) {
            fields.put_text(",\"time\":", Some(&time));
            rest = behind;
            // A word that is no tag is the host; not all senders say one.
            if let Some((word, behind)) = rest.split_once(' ')
                && !word.is_empty()
                && (!word.contains([':', '[']) || is_address(word))
            {
                fields.put_text(",\"host\":", Some(word));
                rest = behind;
            }
        }
        if let Some((app, pid, behind)) = tag(rest) {
            fields.put_text(",\"app\":", Some(app));
            fields.put_text(",\"pid\":", pid);
            rest = behind;
        }
        fields.put_text(",\"message\":", Some(rest));
    }

    /// `Nov 22 19:35:58 `, without a year and a zone, or a time as RFC 3339 has it; and what stands behind.
    fn old_time<'a>(&self, text: &'a str, now: (i32, usize)) -> Option<(String, &'a str)> {
        if let Some((word, behind)) = text.split_once(' ')
            && word.len() >= 19
            && self.times.read(word).is_ok()
        {
            return Some((word.to_owned(), behind));
        }
        let (time, behind) = (text.get(..15)?, text.get(15..)?);
        let month =
            MONTHS.iter().position(|month| time.strip_prefix(month).is_some_and(|rest| rest.starts_with(' ')))? + 1;
        let (day, clock) = (time.get(4..6)?.trim_start().parse::<u8>().ok()?, time.get(7..)?);
        if time.as_bytes().get(6) != Some(&b' ') {
            return None;
        }
        let (year, this_month) = now;
        // It came in December, and is of January, or the other way round.
        let year = match (month, this_month) {
            (1, 12) => year + 1,
            (12, 1) => year - 1,
            _ => year,
        };
        let time = format!("{year:04}-{month:02}-{day:02}T{clock}");
        self.times.read(&time).ok()?;
        Some((time, behind.strip_prefix(' ').unwrap_or(behind)))
    }
}

/// A line of JSON that grows, field by field. Names come with what stands around them, are ours, and come once.
struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    fn put_text(&mut self, name: &str, value: Option<&str>) {
        self.0.extend_from_slice(name.as_bytes());
        match value {
            Some(text) => write_text(text, self.0),
            None => self.0.extend_from_slice(b"null"),
        }
    }

    fn put_value(&mut self, name: &str, value: &Value) {
        self.0.extend_from_slice(name.as_bytes());
        match value {
            Value::Null => self.0.extend_from_slice(b"null"),
            // Objects of texts can be written, and memory takes them.
            value => drop(serde_json::to_writer(&mut *self.0, value)),
        }
    }
}

/// The word before the next blank, and what stands behind it.
fn word(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| byte == b' ')?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// `<34>`, and what stands behind.
fn priority(text: &str) -> Option<(usize, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let fits = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|number| fits && *number < FACILITIES.len() * SEVERITIES.len())?;
    Some((number, rest))
}

/// A value that is not `-`.
fn given(value: &str) -> Option<&str> {
    (value != "-").then_some(value)
}

/// `word` is an IPv6 address and no tag.
fn is_address(word: &str) -> bool {
    word.parse::<std::net::IpAddr>().is_ok()
}

/// `app[pid]: `, and what stands behind.
fn tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = text.find(|c: char| c == ':' || c == '[' || c.is_whitespace())?;
    let (app, rest) = text.split_at_checked(end).filter(|(app, _)| (1..=TAG_BYTES_MAX).contains(&app.len()))?;
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

/// Structured data as an object of objects, and the message behind it; `None`: it is none.
fn structured(text: &str) -> Option<(Value, &str)> {
    let message = |rest: &str| rest.is_empty() || rest.starts_with(' ');
    if let Some(rest) = text.strip_prefix('-').filter(|rest| message(rest)) {
        return Some((Value::Null, rest.strip_prefix(' ').unwrap_or(rest)));
    }
    let (mut elements, mut rest) = (Map::new(), text);
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']'])?;
        let (name, mut behind) = element.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
        let mut parameters = Map::new();
        while let Some(parameter) = behind.strip_prefix(' ') {
            let (key, quoted) =
                parameter.split_once("=\"").filter(|(key, _)| !key.is_empty() && !key.contains([' ', ']', '"']))?;
            let (value, after) = unquoted(quoted)?;
            parameters.insert(key.into(), value.into());
            behind = after;
        }
        rest = behind.strip_prefix(']')?;
        elements.insert(name.into(), Value::Object(parameters));
    }
    let found = !elements.is_empty() && message(rest);
    found.then(|| (Value::Object(elements), rest.strip_prefix(' ').unwrap_or(rest)))
}

/// The text up to the next quote, without the signs that protect quotes and the like, and what stands behind.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut letters) = (String::new(), text.char_indices().peekable());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match letters.next_if(|(_, next)| matches!(next, '"' | '\\' | ']')) {
                Some((_, protected)) => value.push(protected),
                None => value.push('\\'),
            },
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use serde_json::json;

    fn read(message: &str) -> Value {
        let mut line = Vec::new();
        Reader::new().write(message.as_bytes(), &Sender::new("s"), (2026, 11), &mut line);
        let line = String::from_utf8(line).unwrap();
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
        let mut read: Value = serde_json::from_str(&line).unwrap();
        read.as_object_mut().unwrap().remove("sender");
        read
    }

    #[test]
    fn messages_of_rfc_5424_are_read() {
        let told = read(
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"App\\\"li\\]c\\\\at\\ion\"][x] \u{feff}An event\n",
        );
        let expected = json!({
            "facility": "local4", "severity": "notice", "level": 5, "time": "2003-10-11T22:14:15.003Z", "host": "mymachine.example.com",
            "app": "evntslog", "pid": null, "id": "ID47", "message": "An event",
            "data": { "exampleSDID@32473": { "iut": "3", "eventSource": "App\"li]c\\at\\ion" }, "x": {} }
        });
        assert_eq!(told, expected);
        let told = read("<34>1 - - - - - -");
        assert_eq!(
            (&told["facility"], &told["severity"], &told["time"], &told["message"]),
            (&json!("auth"), &json!("crit"), &Value::Null, &json!(""))
        );
        assert_eq!(read("<34>1 2003-10-11T22:14:15Z h a 1 - - line one\nline two")["message"], "line one\nline two");
    }

    #[test]
    fn messages_of_rfc_3164_are_read_as_far_as_they_go() {
        let told = read("<34>Oct 11 22:14:15 mymachine su[231]: 'su root' failed");
        let expected = json!({
            "facility": "auth", "severity": "crit", "level": 2, "time": "2026-10-11T22:14:15", "host": "mymachine", "app": "su", "pid": "231",
            "message": "'su root' failed"
        });
        assert_eq!(told, expected);
        let parts = |message: &str| {
            let told = read(message);
            ["time", "host", "app", "pid", "message"]
                .map(|name| told[name].as_str().unwrap_or("-").to_owned())
                .join("|")
        };
        assert_eq!(parts("<13>Nov  2 01:02:03 me: hi: there"), "2026-11-02T01:02:03|-|me|-|hi: there");
        assert_eq!(parts("<13>Nov 22 01:02:03 host me: hi"), "2026-11-22T01:02:03|host|me|-|hi");
        assert_eq!(parts("<13>Nov 22 01:02:03 ::1 me: hi"), "2026-11-22T01:02:03|::1|me|-|hi");
        assert_eq!(parts("<13>Nov 22 01:02:03 host no tag here"), "2026-11-22T01:02:03|host|-|-|no tag here");
        assert_eq!(parts("<13>2026-11-22T01:02:03.5+01:00 host me[1]: hi"), "2026-11-22T01:02:03.5+01:00|host|me|1|hi");
        assert_eq!(parts("<13>me[1]: hi"), "-|-|me|1|hi");
        assert_eq!(parts("no priority"), "-|-|-|-|no priority");
        assert_eq!(parts("<13>Nov 40 01:02:03 host me: hi"), "-|-|-|-|Nov 40 01:02:03 host me: hi");
        assert_eq!(parts("<13>1 yesterday h a p i - hi"), "-|-|-|-|1 yesterday h a p i - hi");
        assert_eq!(parts("<999>x"), "-|-|-|-|<999>x");
        assert_eq!(parts(""), "-|-|-|-|");
    }

    #[test]
    fn a_time_without_a_year_is_near_to_when_it_came() {
        let year = |time: &str, now| Reader::new().old_time(time, now).unwrap().0[..4].to_owned();
        assert_eq!(year("Dec 31 23:59:59", (2027, 1)), "2026");
        assert_eq!(year("Jan  1 00:00:01", (2026, 12)), "2027");
        assert_eq!(year("Jan  1 00:00:01", (2026, 11)), "2026");
    }

    #[test]
    fn whatever_comes_is_a_line_of_json() {
        let mut random = Random(1);
        let pieces = [
            "<",
            ">",
            "13",
            "1 ",
            " ",
            "-",
            "[",
            "]",
            "\"",
            "=",
            "\\",
            ":",
            "a",
            "ü",
            "\u{feff}",
            "\0",
            "\n",
            "Nov 22 01:02:03",
            "2026-11-22T01:02:03Z",
        ];
        for _ in 0..20_000 {
            let count = random.below(20);
            let message: String = (0..count).map(|_| pieces[random.index(pieces.len())]).collect();
            let _ = read(&message);
        }
        Reader::new().write(&[0xff, 0xfe, b'<'], &Sender::new("s"), (2026, 1), &mut Vec::new());
    }
}
