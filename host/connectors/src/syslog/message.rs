//! Parses a syslog message in the form of RFC 5424 or RFC 3164, and formats it as a line of JSON. Every text is a message: one in neither form is
//! entirely `message`.

use super::bsd;
use millstream_connect::receiver::json_text::write_text;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::times::TimeParser;
use millstream_rows::batch::types::ColumnType;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::Write as _;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
/// Priority of a message without one: `user.notice`.
const NO_PRIORITY: usize = 13;

/// Parses messages.
pub struct Reader {
    times: TimeReader,
}

/// Parses times of RFC 3339.
pub struct TimeReader(TimeParser);

impl TimeReader {
    /// Creates a parser.
    pub fn new() -> TimeReader {
        TimeReader(TimeParser::new(&ColumnSpec::new("time", ColumnType::Timestamp)))
    }

    /// Returns microseconds since 1970.
    pub fn read(&self, text: &str) -> Option<i64> {
        self.0.read(text).ok()
    }
}

/// The parts of a message.
#[derive(Default)]
pub struct Message<'a> {
    pub(super) priority: usize,
    /// As text, and in microseconds since 1970.
    pub(super) time: Option<(Cow<'a, str>, i64)>,
    pub host: Option<&'a str>,
    pub app: Option<&'a str>,
    pub pid: Option<&'a str>,
    pub id: Option<&'a str>,
    /// An object of objects, or null.
    pub(super) data: Value,
    pub message: &'a str,
}

impl Message<'_> {
    /// Returns the facility's name.
    pub fn facility(&self) -> &'static str {
        FACILITIES.get(self.priority / SEVERITIES.len()).copied().unwrap_or_default()
    }

    /// Returns the severity, from 0, the most severe, to 7.
    pub fn level(&self) -> usize {
        self.priority % SEVERITIES.len()
    }

    /// Returns the severity's name.
    pub fn severity(&self) -> &'static str {
        SEVERITIES.get(self.level()).copied().unwrap_or_default()
    }

    /// Returns microseconds since 1970.
    pub fn time_us(&self) -> Option<i64> {
        self.time.as_ref().map(|(_, us)| *us)
    }

    /// Returns the structured data as JSON.
    pub fn data(&self) -> Option<String> {
        (!self.data.is_null()).then(|| self.data.to_string())
    }

    /// Appends the message as a line of JSON, with the name of its sender.
    pub fn write(&self, sender: &str, line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"sender\":");
        write_text(sender, line);
        let (facility, severity, level) = (self.facility(), self.severity(), self.level());
        // None of these need escapes, and writing to memory cannot fail.
        let _ = write!(line, ",\"facility\":\"{facility}\",\"severity\":\"{severity}\",\"level\":{level}");
        let mut put = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                line.extend_from_slice(name.as_bytes());
                write_text(value, line);
            }
        };
        put(",\"host\":", self.host);
        put(",\"app\":", self.app);
        put(",\"pid\":", self.pid);
        put(",\"id\":", self.id);
        put(",\"time\":", self.time.as_ref().map(|(text, _)| text.as_ref()));
        put(",\"message\":", Some(self.message));
        if let Some(data) = self.data() {
            line.extend_from_slice(b",\"data\":");
            line.extend_from_slice(data.as_bytes());
        }
        line.extend_from_slice(b"}\n");
    }
}

impl Reader {
    /// Creates a parser.
    pub fn new() -> Reader {
        Reader { times: TimeReader::new() }
    }

    /// Parses a message that was received at this time (year and month).
    pub fn read<'a>(&self, text: &'a str, now: (i32, usize)) -> Message<'a> {
        let text = text.trim_end_matches(['\n', '\r', '\0']);
        let found = priority(text);
        let (priority, rest) = found.unwrap_or((NO_PRIORITY, text));
        let new = found.and_then(|_| self.rfc_5424(rest));
        Message { priority, ..new.unwrap_or_else(|| bsd::read(rest, now, &self.times)) }
    }

    /// Parses RFC 5424, `1 TIME HOST APP PID ID DATA MESSAGE`; `None` if it is not in this form.
    fn rfc_5424<'a>(&self, text: &'a str) -> Option<Message<'a>> {
        let (time, rest) = word(text.strip_prefix("1 ")?)?;
        let (host, rest) = word(rest)?;
        let (app, rest) = word(rest)?;
        let (pid, rest) = word(rest)?;
        let (id, rest) = word(rest)?;
        let time = match non_nil(time) {
            Some(time) => Some((Cow::Borrowed(time), self.times.read(time)?)),
            None => None,
        };
        let (data, message) = structured(rest.trim_start_matches(' '))?;
        Some(Message {
            priority: NO_PRIORITY,
            time,
            host: non_nil(host),
            app: non_nil(app),
            pid: non_nil(pid),
            id: non_nil(id),
            data,
            message: message.strip_prefix('\u{feff}').unwrap_or(message),
        })
    }
}

/// Returns the next word, and the text after the space that follows. Some senders write two spaces.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    let end = text.bytes().position(|byte| byte == b' ')?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// Parses `<34>`. Returns also the text after it.
fn priority(text: &str) -> Option<(usize, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let fits = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|number| fits && *number < FACILITIES.len() * SEVERITIES.len())?;
    Some((number, rest))
}

/// Returns the value unless it is `-`.
fn non_nil(value: &str) -> Option<&str> {
    (value != "-").then_some(value)
}

/// Parses structured data into an object of objects. Returns also the message after it; `None` if it is invalid.
fn structured(text: &str) -> Option<(Value, &str)> {
    let message = |rest: &str| rest.is_empty() || rest.starts_with(' ');
    if let Some(rest) = text.strip_prefix('-').filter(|rest| message(rest)) {
        return Some((Value::Null, rest.strip_prefix(' ').unwrap_or(rest)));
    }
    let (mut elements, mut rest) = (Map::new(), text);
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']'])?;
        let (name, mut rest_after) = element.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
        // An element may be repeated, although the RFC does not allow it.
        let sd_element = elements.entry(name).or_insert_with(|| Value::Object(Map::new()));
        let parameters = sd_element.as_object_mut()?;
        while let Some(parameter) = rest_after.strip_prefix(' ') {
            let (key, quoted) =
                parameter.split_once("=\"").filter(|(key, _)| !key.is_empty() && !key.contains([' ', ']', '"']))?;
            let (value, after) = unescape(quoted)?;
            parameters.insert(key.into(), value.into());
            rest_after = after;
        }
        rest = rest_after.strip_prefix(']')?;
    }
    let found = !elements.is_empty() && message(rest);
    found.then(|| (Value::Object(elements), rest.strip_prefix(' ').unwrap_or(rest)))
}

/// Parses the text up to the closing quote, removing escapes. Returns also the text after it.
fn unescape(text: &str) -> Option<(String, &str)> {
    let (mut value, mut characters) = (String::new(), text.char_indices().peekable());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next_if(|(_, next)| matches!(next, '"' | '\\' | ']')) {
                Some((_, protected)) => value.push(protected),
                None => value.push('\\'),
            },
            character => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::random::Random;
    use serde_json::json;

    fn read(message: &str) -> Value {
        let mut line = Vec::new();
        Reader::new().read(message, (2026, 11)).write("s", &mut line);
        let line = String::from_utf8(line).unwrap();
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
        let mut read: Value = serde_json::from_str(&line).unwrap();
        read.as_object_mut().unwrap().remove("sender");
        read
    }

    #[test]
    fn messages_of_rfc_5424_are_read() {
        let parsed = read(
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"App\\\"li\\]c\\\\at\\ion\"][x] \u{feff}An event\n",
        );
        let expected = json!({
            "facility": "local4", "severity": "notice", "level": 5, "time": "2003-10-11T22:14:15.003Z", "host": "mymachine.example.com",
            "app": "evntslog", "id": "ID47", "message": "An event",
            "data": { "exampleSDID@32473": { "iut": "3", "eventSource": "App\"li]c\\at\\ion" }, "x": {} }
        });
        assert_eq!(parsed, expected);
        let parsed = read("<34>1 - - - - - -");
        assert_eq!(
            (&parsed["facility"], &parsed["severity"], &parsed["time"], &parsed["message"]),
            (&json!("auth"), &json!("crit"), &Value::Null, &json!(""))
        );
        let parsed = read("<34>1 - h a p - [a b=\"1\"][x][a c=\"3\"][a b=\"4\"] m");
        assert_eq!(parsed["data"], json!({ "a": { "b": "4", "c": "3" }, "x": {} }));
        assert_eq!(read("<34>1 2003-10-11T22:14:15Z h a 1 - - line one\nline two")["message"], "line one\nline two");
    }

    #[test]
    fn messages_of_rfc_3164_are_read_as_far_as_they_go() {
        let parsed = read("<34>Oct 11 22:14:15 mymachine su[231]: 'su root' failed");
        let expected = json!({
            "facility": "auth", "severity": "crit", "level": 2, "time": "2026-10-11T22:14:15", "host": "mymachine", "app": "su", "pid": "231",
            "message": "'su root' failed"
        });
        assert_eq!(parsed, expected);
        let parts = |message: &str| {
            let parsed = read(message);
            ["time", "host", "app", "pid", "message"]
                .map(|name| parsed[name].as_str().unwrap_or("-").to_owned())
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
    }
}
