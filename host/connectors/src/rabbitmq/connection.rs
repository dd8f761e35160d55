//! A blocking connection to an AMQP server, with one channel. It reads from the socket only inside a call, so a slow job holds the server
//! back.

use super::wire::{self, BODY, Field, FrameReader, FrameWriter, HEADER, HEARTBEAT, METHOD, Properties};
use super::{Fault, RESPONSE_TIMEOUT, Server};
use bytes::{Bytes, BytesMut};
use millstream_base::shown;
use millstream_connect::dial::{BlockingStream, ProtocolError, response_timed_out};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The only channel of a connection.
pub const CHANNEL: u16 = 1;
/// If the server sends nothing for this long, it gets a request.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Maximum bytes of a frame; the server may lower it.
const FRAME_BYTES: u32 = 128 << 10;
/// Maximum bytes of a message: the maximum that a server can be configured to accept.
const MESSAGE_BYTES_MAX: u64 = 512 << 20;
/// Maximum events that arrive before the response to a method.
const QUEUED_MAX: usize = 100_000;
const SHOWN_BYTES_MAX: usize = 300;

/// The server has closed the channel or the connection, or the connection was lost.
#[derive(Debug)]
pub struct ClosedByServer {
    /// Reply code of AMQP; 0 if the server did not send one.
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
        Fault::Transient(format!("what it sends is not AMQP 0-9-1: {}", wrong.0)).into()
    }
}

impl ClosedByServer {
    pub const NO_SUCH: u16 = 404;
    pub const NOT_AS_WANTED: u16 = 406;
    pub const NOT_IMPLEMENTED: u16 = 540;

    fn new(code: u16, text: &str) -> ClosedByServer {
        let text = shown::harmless(text, SHOWN_BYTES_MAX);
        let fault = match code {
            403 => Fault::Permanent(format!(
                "permission denied ({text}); check user and password in `url`, or the user's permissions"
            )),
            // An unknown virtual host, for example.
            530 => Fault::Permanent(format!("permission denied ({text}); check `url`")),
            ClosedByServer::NOT_IMPLEMENTED => Fault::Permanent(format!("it cannot do this ({text})")),
            _ => Fault::Transient(text),
        };
        ClosedByServer { code, fault }
    }
}

/// An event from a server.
pub enum Event {
    Delivery(Delivery),
    /// The server has accepted or rejected message `number`, and all before it if `several`.
    Confirmed {
        number: u64,
        several: bool,
        accepted: bool,
    },
    /// No queue takes a published message.
    Returned {
        routing_key: String,
        why: String,
    },
    /// The server cancelled the consumer, because the queue was deleted.
    Cancelled,
    /// The response to a method.
    Response {
        class: u16,
        method: u16,
        body: FrameReader,
    },
}

/// A delivered message.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Delivery tag: the number of the message on this channel.
    pub number: u64,
    pub routing_key: String,
    pub properties: Properties,
    pub body: Bytes,
}

/// A message, which arrives in several frames.
#[derive(Default)]
enum Content {
    #[default]
    None,
    /// The method arrived; the header follows.
    Started(ContentKind),
    /// The header arrived, and this part of the body.
    Body { of: ContentKind, properties: Properties, body: BytesMut },
}

enum ContentKind {
    Delivery { number: u64, routing_key: String },
    Returned { routing_key: String, why: String },
}

/// A connection that is logged in, with an open channel.
pub struct Connection {
    line: BlockingStream,
    /// Maximum bytes of a frame.
    pub frame_max: usize,
    content: Content,
    /// `None` if the server expects no heartbeats.
    heartbeat: Option<Duration>,
    queued: VecDeque<Event>,
    /// When the server last got a request because it was idle; `None` if it has sent something since.
    probed_at: Option<Instant>,
}

impl Connection {
    /// Connects and opens the channel. If the server receives nothing for two to three times `heartbeat_s` seconds, it closes the connection
    /// and delivers unacknowledged messages again. 0 disables this.
    pub fn open(server: &Server, heartbeat_s: u16) -> Result<Connection, ClosedByServer> {
        let address = &server.address;
        let mut line = BlockingStream::open(address)?;
        line.secure(address)?;
        line.send(b"AMQP\0\0\x09\x01")?;
        let mut connection = Connection {
            line,
            frame_max: FRAME_BYTES as usize,
            content: Content::None,
            heartbeat: (heartbeat_s > 0).then(|| Duration::from_secs(heartbeat_s.into())),
            queued: VecDeque::new(),
            probed_at: None,
        };
        let mut start = connection.await_response(10, 10)?;
        let (_major, _minor, _properties) = (start.u8()?, start.u8()?, start.table()?);
        let mechanisms = String::from_utf8_lossy(&start.long()?).into_owned();
        if !mechanisms.split(' ').any(|mechanism| mechanism == "PLAIN") {
            return Err(Fault::Permanent("it does not support user and password (PLAIN); enable it".into()).into());
        }
        let capabilities = [
            ("publisher_confirms", Field::Flag(true)),
            ("basic.nack", Field::Flag(true)),
            ("consumer_cancel_notify", Field::Flag(true)),
            // So that the server reports a failed login, instead of only closing the connection.
            ("authentication_failure_close", Field::Flag(true)),
        ];
        let properties = [
            ("product", Field::Text("millstream")),
            ("version", Field::Text(env!("CARGO_PKG_VERSION"))),
            ("capabilities", Field::Table(&capabilities)),
        ];
        // The server's default user.
        let user = address.user.as_deref().unwrap_or("guest");
        let password = address.password.as_deref().unwrap_or(if address.user.is_some() { b"" } else { b"guest" });
        let login = [b"\0", user.as_bytes(), b"\0", password].concat();
        let start_ok = FrameWriter::method(10, 11).table(&properties).short("PLAIN").long(&login).short("en_US");
        connection.send_method(0, &start_ok)?;
        let mut tune = connection.await_response(10, 30).map_err(|closed| match closed.code {
            403 => Fault::Permanent("authentication failed; check user and password in `url`".into()).into(),
            _ => closed,
        })?;
        let (channels, frame_max, _shorter) = (tune.u16()?, tune.u32()?, tune.u16()?);
        let frame_max = if frame_max == 0 { FRAME_BYTES } else { frame_max.min(FRAME_BYTES) };
        connection.frame_max = frame_max as usize;
        connection.send_method(0, &FrameWriter::method(10, 31).u16(channels).u32(frame_max).u16(heartbeat_s))?;
        connection.send_method(0, &FrameWriter::method(10, 40).short(&server.vhost).short("").u8(0))?;
        connection.await_response(10, 41)?;
        connection.call(&FrameWriter::method(20, 10).short(""), (20, 11))?;
        Ok(connection)
    }

    /// Calls a method and waits for the response.
    pub fn call(&mut self, method: &FrameWriter, (class, response): (u16, u16)) -> Result<FrameReader, ClosedByServer> {
        self.send_method(CHANNEL, method)?;
        self.await_response(class, response)
    }

    fn send_method(&mut self, channel: u16, method: &FrameWriter) -> Result<(), Fault> {
        let mut frame = Vec::new();
        wire::put(&mut frame, METHOD, channel, &method.0);
        self.line.send(&frame)
    }

    fn await_response(&mut self, class: u16, method: u16) -> Result<FrameReader, ClosedByServer> {
        let until = Instant::now() + RESPONSE_TIMEOUT;
        loop {
            match self.receive(until)? {
                Some(Event::Response { class: c, method: m, body }) if (c, m) == (class, method) => return Ok(body),
                Some(_) if self.queued.len() >= QUEUED_MAX => {
                    return Err(Fault::Transient("it sends more than was requested".into()).into());
                }
                Some(event) => self.queued.push_back(event),
                None => return Err(response_timed_out().into()),
            }
        }
    }

    /// Returns the number of ready messages of a queue; fails if it does not exist. The server counts those of a stream every five seconds.
    pub fn find_queue(&mut self, queue: &str) -> Result<u32, ClosedByServer> {
        let mut found = self.call(&passive_declare(queue), (50, 11))?;
        let (_name, messages) = (found.short()?, found.u32()?);
        Ok(messages)
    }

    /// Whether a queue supports `basic.get`. A stream never does, in any state. Consumes the connection, because its end returns the message
    /// to the queue.
    pub fn hands_out(mut self, queue: &str) -> Result<bool, ClosedByServer> {
        self.send_method(CHANNEL, &FrameWriter::method(60, 70).u16(0).short(queue).u8(0))?;
        let until = Instant::now() + RESPONSE_TIMEOUT;
        loop {
            match self.receive(until) {
                Ok(Some(Event::Response { class: 60, method: 71 | 72, .. })) => return Ok(true),
                Ok(Some(_)) => {}
                Ok(None) => return Err(response_timed_out().into()),
                Err(closed) if closed.code == ClosedByServer::NOT_IMPLEMENTED => return Ok(false),
                Err(closed) => return Err(closed),
            }
        }
    }

    /// Fails if an exchange does not exist.
    pub fn find_exchange(&mut self, exchange: &str) -> Result<(), ClosedByServer> {
        let passive = 1;
        let find = FrameWriter::method(40, 10).u16(0).short(exchange).short("direct").u8(passive).table(&[]);
        self.call(&find, (40, 11)).map(drop)
    }

    /// Starts to consume a queue, or a stream from an offset (`Field::Text("first")` is its beginning), with at most `prefetch`
    /// unacknowledged messages.
    pub fn consume(&mut self, queue: &str, prefetch: u16, offset: Option<Field<'_>>) -> Result<(), ClosedByServer> {
        self.call(&FrameWriter::method(60, 10).u32(0).u16(prefetch).u8(0), (60, 11))?;
        let arguments: Vec<_> = offset.map(|offset| ("x-stream-offset", offset)).into_iter().collect();
        let consume = FrameWriter::method(60, 20).u16(0).short(queue).short("").u8(0).table(&arguments);
        self.call(&consume, (60, 21)).map(drop)
    }

    /// Turns on publisher confirms.
    pub fn confirm(&mut self) -> Result<(), ClosedByServer> {
        self.call(&FrameWriter::method(85, 10).u8(0), (85, 11)).map(drop)
    }

    /// Acknowledges all messages up to this one.
    pub fn acknowledge(&mut self, number: u64) -> Result<(), Fault> {
        self.send_method(CHANNEL, &FrameWriter::method(60, 80).u64(number).u8(1))
    }

    /// Sends encoded frames.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.line.send(bytes)
    }

    /// Returns the next event, or `None` after `wait`.
    pub fn next_event(&mut self, wait: Duration) -> Result<Option<Event>, ClosedByServer> {
        match self.queued.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.receive(Instant::now() + wait),
        }
    }

    /// Sends a heartbeat if one is due. If the server was idle, sends a method that has a response; fails if the last one got none.
    pub fn keep_alive(&mut self, queue: Option<&str>) -> Result<(), Fault> {
        if self.probed_at.is_some_and(|probed_at| probed_at.elapsed() > RESPONSE_TIMEOUT) {
            return Err(response_timed_out());
        }
        if self.heartbeat.is_some_and(|heartbeat| self.line.sent.elapsed() >= heartbeat / 2) {
            let mut frame = Vec::new();
            wire::put(&mut frame, HEARTBEAT, 0, &[]);
            self.line.send(&frame)?;
        }
        if self.probed_at.is_none() && self.line.received.elapsed() >= IDLE_MAX {
            let declare = match queue {
                Some(queue) => passive_declare(queue),
                // `channel.flow` with the current state.
                None => FrameWriter::method(20, 20).u8(1),
            };
            self.send_method(CHANNEL, &declare)?;
            self.probed_at = Some(Instant::now());
        }
        Ok(())
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Event>, ClosedByServer> {
        loop {
            while let Some(frame) = wire::take(&mut self.line.buffer)? {
                let event = match frame.kind {
                    METHOD => self.handle_method(frame.payload)?,
                    HEADER => self.content.header(frame.payload)?,
                    BODY => self.content.body(&frame.payload)?,
                    // Heartbeats must not extend the wait.
                    _ if Instant::now() >= until => return Ok(None),
                    _ => None,
                };
                if event.is_some() {
                    return Ok(event);
                }
            }
            if !self.line.read_more(until.saturating_duration_since(Instant::now()))? {
                return Ok(None);
            }
            self.probed_at = None;
        }
    }

    fn handle_method(&mut self, payload: Bytes) -> Result<Option<Event>, ClosedByServer> {
        let mut r = FrameReader(payload);
        let (class, method) = (r.u16()?, r.u16()?);
        Ok(Some(match (class, method) {
            (10, 50) | (20, 40) => {
                let (code, text) = (r.u16()?, r.short()?);
                return Err(ClosedByServer::new(code, &text));
            }
            (60, 60) => {
                let (_tag, number, _again, _exchange) = (r.short()?, r.u64()?, r.u8()?, r.short()?);
                self.content.start(ContentKind::Delivery { number, routing_key: r.short()? })?;
                return Ok(None);
            }
            (60, 50) => {
                let (_code, why, _exchange) = (r.u16()?, r.short()?, r.short()?);
                self.content.start(ContentKind::Returned { routing_key: r.short()?, why })?;
                return Ok(None);
            }
            (60, 80) => Event::Confirmed { number: r.u64()?, several: r.u8()? & 1 != 0, accepted: true },
            (60, 120) => Event::Confirmed { number: r.u64()?, several: r.u8()? & 1 != 0, accepted: false },
            (60, 30) => Event::Cancelled,
            (class, method) => Event::Response { class, method, body: r },
        }))
    }
}

impl Content {
    fn start(&mut self, of: ContentKind) -> Result<(), ProtocolError> {
        match std::mem::replace(self, Content::Started(of)) {
            Content::None => Ok(()),
            _ => Err(ProtocolError("a message begins before the last one has ended")),
        }
    }

    fn header(&mut self, payload: Bytes) -> Result<Option<Event>, ProtocolError> {
        let Content::Started(of) = std::mem::take(self) else {
            return Err(ProtocolError("a header belongs to no message"));
        };
        let properties = Properties::read(payload)?;
        if properties.bytes > MESSAGE_BYTES_MAX {
            return Err(ProtocolError("a message is too long"));
        }
        *self = Content::Body { of, properties, body: BytesMut::new() };
        Ok(self.complete())
    }

    fn body(&mut self, payload: &[u8]) -> Result<Option<Event>, ProtocolError> {
        let Content::Body { properties, body, .. } = self else {
            return Err(ProtocolError("a body belongs to no message"));
        };
        if payload.is_empty() {
            return Err(ProtocolError("a part of a body is empty"));
        }
        if (body.len() + payload.len()) as u64 > properties.bytes {
            return Err(ProtocolError("a message is longer than its declared length"));
        }
        body.extend_from_slice(payload);
        Ok(self.complete())
    }

    /// Returns the message if it is complete.
    fn complete(&mut self) -> Option<Event> {
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

fn passive_declare(queue: &str) -> FrameWriter {
    let passive = 1;
    FrameWriter::method(50, 10).u16(0).short(queue).u8(passive).table(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: u64) -> Bytes {
        FrameWriter::method(60, 0).u64(bytes).u16(0).0.into()
    }

    fn started() -> Content {
        Content::Started(ContentKind::Delivery { number: 7, routing_key: "k".into() })
    }

    #[test]
    fn a_message_is_complete_if_its_body_has_the_length_of_the_header() {
        let mut content = started();
        assert!(content.header(header(3)).unwrap().is_none());
        assert!(content.body(b"ab").unwrap().is_none());
        let Some(Event::Delivery(delivery)) = content.body(b"c").unwrap() else { panic!("it is whole") };
        assert_eq!((delivery.number, &delivery.body[..]), (7, &b"abc"[..]));
        assert!(matches!(content, Content::None));
        content = started();
        assert!(content.header(header(0)).unwrap().is_some());
    }

    #[test]
    fn frames_in_wrong_order_are_rejected() {
        assert!(started().body(b"x").is_err());
        assert!(Content::None.body(b"x").is_err());
        assert!(Content::None.header(header(1)).is_err());
        assert!(started().header(header(MESSAGE_BYTES_MAX + 1)).is_err());
        assert!(started().start(ContentKind::Returned { routing_key: String::new(), why: String::new() }).is_err());
        let mut content = started();
        content.header(header(3)).unwrap();
        assert!(content.body(b"").is_err());
        assert!(content.body(b"abcd").is_err());
        assert!(content.header(header(9)).is_err());
    }
}
