//! A connection with a server of AMQP, and its one channel, for a thread that waits.

use super::wire::{self, BODY, Field, FrameReader, FrameWriter, HEADER, HEARTBEAT, METHOD, Properties};
use super::{ANSWER_MAX, Fault, Server};
use crate::dial::{Line, ProtocolError, silent};
use bytes::{Bytes, BytesMut};
use millstream_base::shown;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The channel of a connection.
pub const CHANNEL: u16 = 1;
/// After so long without a word the server is asked whether it lives.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// Bytes of a frame, unless the server wants less.
const FRAME_BYTES: u32 = 128 << 10;
/// Bytes of a message.
const MESSAGE_BYTES_MAX: u64 = 512 << 20;
/// Messages that come while an answer is waited for.
const WAITING_MAX: usize = 100_000;
const SHOWN_BYTES_MAX: usize = 300;

/// The server has closed the channel or the connection.
#[derive(Debug)]
pub struct ClosedByServer {
    /// Why, as AMQP numbers it; zero: it said nothing, or something else failed.
    pub code: u16,
    pub fault: Fault,
}

impl From<Fault> for ClosedByServer {
    fn from(fault: Fault) -> ClosedByServer {
        ClosedByServer { code: 0, fault }
    }
}

impl From<ProtocolError> for ClosedByServer {
    fn from(wrong: ProtocolError) -> ClosedByServer {
        Fault::Passing(format!("what it sends is not AMQP 0-9-1: {}", wrong.0)).into()
    }
}

impl ClosedByServer {
    pub const NO_SUCH: u16 = 404;
    pub const NOT_AS_WANTED: u16 = 406;
    pub const NOT_IMPLEMENTED: u16 = 540;

    fn of(code: u16, text: &str) -> ClosedByServer {
        let text = shown::harmless(text, SHOWN_BYTES_MAX);
        let fault = match code {
            403 => Fault::Lasting(format!(
                "permission denied ({text}); check user and password in `url`, or the user's permissions"
            )),
            // No such virtual host, among others.
            530 => Fault::Lasting(format!("permission denied ({text}); check `url`")),
            ClosedByServer::NOT_IMPLEMENTED => Fault::Lasting(format!("it cannot do this ({text})")),
            _ => Fault::Passing(text),
        };
        ClosedByServer { code, fault }
    }
}

/// What a server sends.
pub enum Event {
    Delivery(Delivery),
    /// It has taken what was published, up to this number where `several`; or it has not.
    Confirmed {
        number: u64,
        several: bool,
        taken: bool,
    },
    /// Nobody takes what was published.
    Returned {
        routing_key: String,
        why: String,
    },
    /// It will not send any more: the queue was deleted.
    Cancelled,
    /// An answer to something.
    Answer {
        class: u16,
        method: u16,
        body: FrameReader,
    },
}

/// A message.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Its number on this channel.
    pub number: u64,
    pub routing_key: String,
    pub properties: Properties,
    pub body: Bytes,
}

/// What comes in several frames.
#[derive(Default)]
enum Content {
    #[default]
    None,
    /// The method came, and the header comes next.
    Begun(ContentKind),
    /// The header came, and as much of the body.
    Body { of: ContentKind, properties: Properties, body: BytesMut },
}

enum ContentKind {
    Delivery { number: u64, routing_key: String },
    Returned { routing_key: String, why: String },
}

/// A connection that the server has accepted.
pub struct Connection {
    line: Line,
    /// Bytes of a frame.
    pub frame_max: usize,
    content: Content,
    /// `None`: the server does not wait for any.
    heartbeat: Option<Duration>,
    waiting: VecDeque<Event>,
    /// When it was asked whether it lives; `None`: it has said something since.
    asked: Option<Instant>,
}

impl Connection {
    /// Connects, and opens the channel. The server closes the connection where it hears nothing for some times `heartbeat_s` seconds, and
    /// gives to others what it has sent here; zero: it waits for ever.
    pub fn open(server: &Server, heartbeat_s: u16) -> Result<Connection, ClosedByServer> {
        let place = &server.place;
        let mut line = Line::open(place)?;
        line.secure(place)?;
        line.send(b"AMQP\0\0\x09\x01")?;
        let mut connection = Connection {
            line,
            frame_max: FRAME_BYTES as usize,
            content: Content::None,
            heartbeat: (heartbeat_s > 0).then(|| Duration::from_secs(heartbeat_s.into())),
            waiting: VecDeque::new(),
            asked: None,
        };
        let mut start = connection.answer(10, 10)?;
        let (_major, _minor, _properties) = (start.u8()?, start.u8()?, start.table()?);
        let mechanisms = String::from_utf8_lossy(&start.long()?).into_owned();
        if !mechanisms.split(' ').any(|mechanism| mechanism == "PLAIN") {
            return Err(Fault::Lasting("it does not support user and password (PLAIN); enable it".into()).into());
        }
        let can = [
            ("publisher_confirms", Field::Flag(true)),
            ("basic.nack", Field::Flag(true)),
            ("consumer_cancel_notify", Field::Flag(true)),
            // So that it says what it does not accept, and does not just go.
            ("authentication_failure_close", Field::Flag(true)),
        ];
        let properties = [
            ("product", Field::Text("millstream")),
            ("version", Field::Text(env!("CARGO_PKG_VERSION"))),
            ("capabilities", Field::Table(&can)),
        ];
        // Who says nothing is the server's own guest.
        let user = place.user.as_deref().unwrap_or("guest");
        let password = place.password.as_deref().unwrap_or(if place.user.is_some() { b"" } else { b"guest" });
        let login = [b"\0", user.as_bytes(), b"\0", password].concat();
        let start_ok = FrameWriter::method(10, 11).table(&properties).short("PLAIN").long(&login).short("en_US");
        connection.send_method(0, &start_ok)?;
        let mut tune = connection.answer(10, 30).map_err(|closed| match closed.code {
            403 => Fault::Lasting("authentication failed; check user and password in `url`".into()).into(),
            _ => closed,
        })?;
        let (channels, frame_max, _shorter) = (tune.u16()?, tune.u32()?, tune.u16()?);
        let frame_max = if frame_max == 0 { FRAME_BYTES } else { frame_max.min(FRAME_BYTES) };
        connection.frame_max = frame_max as usize;
        connection.send_method(0, &FrameWriter::method(10, 31).u16(channels).u32(frame_max).u16(heartbeat_s))?;
        connection.send_method(0, &FrameWriter::method(10, 40).short(&server.vhost).short("").u8(0))?;
        connection.answer(10, 41)?;
        connection.call(&FrameWriter::method(20, 10).short(""), (20, 11))?;
        Ok(connection)
    }

    /// Calls a method, and waits for the answer.
    pub fn call(&mut self, method: &FrameWriter, (class, answer): (u16, u16)) -> Result<FrameReader, ClosedByServer> {
        self.send_method(CHANNEL, method)?;
        self.answer(class, answer)
    }

    fn send_method(&mut self, channel: u16, method: &FrameWriter) -> Result<(), Fault> {
        let mut frame = Vec::new();
        wire::put(&mut frame, METHOD, channel, &method.0);
        self.line.send(&frame)
    }

    fn answer(&mut self, class: u16, method: u16) -> Result<FrameReader, ClosedByServer> {
        let until = Instant::now() + ANSWER_MAX;
        loop {
            match self.next_new(until)? {
                Some(Event::Answer { class: c, method: m, body }) if (c, m) == (class, method) => return Ok(body),
                Some(_) if self.waiting.len() >= WAITING_MAX => {
                    return Err(Fault::Passing("it sends more than was requested".into()).into());
                }
                Some(event) => self.waiting.push_back(event),
                None => return Err(silent().into()),
            }
        }
    }

    /// Looks whether a queue is there: how many messages it has to send. Of a stream the server counts them anew every five seconds.
    pub fn find_queue(&mut self, queue: &str) -> Result<u32, ClosedByServer> {
        let mut found = self.call(&find_queue(queue), (50, 11))?;
        let (_name, messages) = (found.short()?, found.u32()?);
        Ok(messages)
    }

    /// Whether a queue hands out single messages, which no stream does, whatever state it is in. One that it hands out here goes back to
    /// its place when this connection ends, and so this is the last that is asked on it.
    pub fn hands_out(mut self, queue: &str) -> Result<bool, ClosedByServer> {
        self.send_method(CHANNEL, &FrameWriter::method(60, 70).u16(0).short(queue).u8(0))?;
        let until = Instant::now() + ANSWER_MAX;
        loop {
            match self.next_new(until) {
                Ok(Some(Event::Answer { class: 60, method: 71 | 72, .. })) => return Ok(true),
                Ok(Some(_)) => {}
                Ok(None) => return Err(silent().into()),
                Err(closed) if closed.code == ClosedByServer::NOT_IMPLEMENTED => return Ok(false),
                Err(closed) => return Err(closed),
            }
        }
    }

    /// Looks whether an exchange is there.
    pub fn find_exchange(&mut self, exchange: &str) -> Result<(), ClosedByServer> {
        let passive = 1;
        let find = FrameWriter::method(40, 10).u16(0).short(exchange).short("direct").u8(passive).table(&[]);
        self.call(&find, (40, 11)).map(drop)
    }

    /// Has the server send messages of a queue, of a stream from this offset (`Field::Text("first")` is its beginning). At most so many
    /// are sent and not acknowledged.
    pub fn consume(&mut self, queue: &str, most: u16, offset: Option<Field<'_>>) -> Result<(), ClosedByServer> {
        self.call(&FrameWriter::method(60, 10).u32(0).u16(most).u8(0), (60, 11))?;
        let arguments: Vec<_> = offset.map(|offset| ("x-stream-offset", offset)).into_iter().collect();
        let consume = FrameWriter::method(60, 20).u16(0).short(queue).short("").u8(0).table(&arguments);
        self.call(&consume, (60, 21)).map(drop)
    }

    /// Has the server confirm what is published.
    pub fn confirm(&mut self) -> Result<(), ClosedByServer> {
        self.call(&FrameWriter::method(85, 10).u8(0), (85, 11)).map(drop)
    }

    /// Acknowledges all messages up to this one.
    pub fn acknowledge(&mut self, number: u64) -> Result<(), Fault> {
        self.send_method(CHANNEL, &FrameWriter::method(60, 80).u64(number).u8(1))
    }

    /// Sends this.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.line.send(bytes)
    }

    /// The next of what comes; `None`: nothing has come within this time.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Event>, ClosedByServer> {
        match self.waiting.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.next_new(Instant::now() + wait),
        }
    }

    /// Tells the server that the job lives; and asks it the same, where nothing was said for a while, by what has an answer.
    pub fn keep_alive(&mut self, queue: Option<&str>) -> Result<(), Fault> {
        if self.asked.is_some_and(|asked| asked.elapsed() > ANSWER_MAX) {
            return Err(silent());
        }
        if self.heartbeat.is_some_and(|heartbeat| self.line.sent.elapsed() >= heartbeat / 2) {
            let mut frame = Vec::new();
            wire::put(&mut frame, HEARTBEAT, 0, &[]);
            self.line.send(&frame)?;
        }
        if self.asked.is_none() && self.line.heard.elapsed() >= QUIET_MAX {
            let ask = match queue {
                Some(queue) => find_queue(queue),
                // That messages may be sent.
                None => FrameWriter::method(20, 20).u8(1),
            };
            self.send_method(CHANNEL, &ask)?;
            self.asked = Some(Instant::now());
        }
        Ok(())
    }

    fn next_new(&mut self, until: Instant) -> Result<Option<Event>, ClosedByServer> {
        loop {
            while let Some(frame) = wire::take(&mut self.line.buffer)? {
                let event = match frame.kind {
                    METHOD => self.method(frame.payload)?,
                    HEADER => self.content.header(frame.payload)?,
                    BODY => self.content.body(&frame.payload)?,
                    // Any number of these says nothing.
                    _ if Instant::now() >= until => return Ok(None),
                    _ => None,
                };
                if event.is_some() {
                    return Ok(event);
                }
            }
            if !self.line.more(until.saturating_duration_since(Instant::now()))? {
                return Ok(None);
            }
            self.asked = None;
        }
    }

    fn method(&mut self, payload: Bytes) -> Result<Option<Event>, ClosedByServer> {
        let mut r = FrameReader(payload);
        let (class, method) = (r.u16()?, r.u16()?);
        Ok(Some(match (class, method) {
            (10, 50) | (20, 40) => {
                let (code, text) = (r.u16()?, r.short()?);
                return Err(ClosedByServer::of(code, &text));
            }
            (60, 60) => {
                let (_tag, number, _again, _exchange) = (r.short()?, r.u64()?, r.u8()?, r.short()?);
                self.content.begin(ContentKind::Delivery { number, routing_key: r.short()? })?;
                return Ok(None);
            }
            (60, 50) => {
                let (_code, why, _exchange) = (r.u16()?, r.short()?, r.short()?);
                self.content.begin(ContentKind::Returned { routing_key: r.short()?, why })?;
                return Ok(None);
            }
            (60, 80) => Event::Confirmed { number: r.u64()?, several: r.u8()? & 1 != 0, taken: true },
            (60, 120) => Event::Confirmed { number: r.u64()?, several: r.u8()? & 1 != 0, taken: false },
            (60, 30) => Event::Cancelled,
            (class, method) => Event::Answer { class, method, body: r },
        }))
    }
}

impl Content {
    fn begin(&mut self, of: ContentKind) -> Result<(), ProtocolError> {
        match std::mem::replace(self, Content::Begun(of)) {
            Content::None => Ok(()),
            _ => Err(ProtocolError("a message begins before the last one has ended")),
        }
    }

    fn header(&mut self, payload: Bytes) -> Result<Option<Event>, ProtocolError> {
        let Content::Begun(of) = std::mem::take(self) else {
            return Err(ProtocolError("a header belongs to no message"));
        };
        let properties = Properties::read(payload)?;
        if properties.bytes > MESSAGE_BYTES_MAX {
            return Err(ProtocolError("a message is too long"));
        }
        *self = Content::Body { of, properties, body: BytesMut::new() };
        Ok(self.whole())
    }

    fn body(&mut self, payload: &[u8]) -> Result<Option<Event>, ProtocolError> {
        let Content::Body { properties, body, .. } = self else {
            return Err(ProtocolError("a body belongs to no message"));
        };
        if payload.is_empty() {
            return Err(ProtocolError("a part of a body is empty"));
        }
        if (body.len() + payload.len()) as u64 > properties.bytes {
            return Err(ProtocolError("a message is longer than it says"));
        }
        body.extend_from_slice(payload);
        Ok(self.whole())
    }

    /// The message, where all of it has come.
    fn whole(&mut self) -> Option<Event> {
        match std::mem::take(self) {
            Content::Body { of, properties, body } if body.len() as u64 == properties.bytes => Some(match of {
                ContentKind::Delivery { number, routing_key } => {
                    Event::Delivery(Delivery { number, routing_key, properties, body: body.freeze() })
                }
                ContentKind::Returned { routing_key, why } => Event::Returned { routing_key, why },
            }),
            part => {
                *self = part;
                None
            }
        }
    }
}

fn find_queue(queue: &str) -> FrameWriter {
    let passive = 1;
    FrameWriter::method(50, 10).u16(0).short(queue).u8(passive).table(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: u64) -> Bytes {
        FrameWriter::method(60, 0).u64(bytes).u16(0).0.into()
    }

    fn begun() -> Content {
        Content::Begun(ContentKind::Delivery { number: 7, routing_key: "k".into() })
    }

    #[test]
    fn a_message_is_whole_when_as_much_came_as_its_header_says() {
        let mut content = begun();
        assert!(content.header(header(3)).unwrap().is_none());
        assert!(content.body(b"ab").unwrap().is_none());
        let Some(Event::Delivery(delivery)) = content.body(b"c").unwrap() else { panic!("it is whole") };
        assert_eq!((delivery.number, &delivery.body[..]), (7, &b"abc"[..]));
        assert!(matches!(content, Content::None));
        content = begun();
        assert!(content.header(header(0)).unwrap().is_some());
    }

    #[test]
    fn what_comes_out_of_turn_is_refused_and_not_kept() {
        assert!(begun().body(b"x").is_err());
        assert!(Content::None.body(b"x").is_err());
        assert!(Content::None.header(header(1)).is_err());
        assert!(begun().header(header(MESSAGE_BYTES_MAX + 1)).is_err());
        assert!(begun().begin(ContentKind::Returned { routing_key: String::new(), why: String::new() }).is_err());
        let mut content = begun();
        content.header(header(3)).unwrap();
        assert!(content.body(b"").is_err());
        assert!(content.body(b"abcd").is_err());
        assert!(content.header(header(9)).is_err());
    }
}
