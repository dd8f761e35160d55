//! MQTT 5 packets that a client with QoS 0 and 1 sends and receives. No length is trusted before its bytes have arrived.

use bytes::{Buf, Bytes, BytesMut};

/// Maximum number of messages that a server sends without acknowledgement. Mosquitto does not count those sent to a previous connection,
/// and sends twice as many after a reconnect: the total must be less than the number of packet ids.
const RECEIVE_MAX: u16 = 30_000;
/// Maximum encodable bytes of a packet after its length.
const LENGTH_MAX: usize = 268_435_455;
/// Bytes that are read of a message that is too long: room for the longest topic, and for the usual properties before the payload.
const BEGINNING_BYTES: usize = 128 << 10;

/// A packet of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// The response to a connection request.
    ConnAck {
        /// Whether the server has kept the session of this client.
        session: bool,
        /// 0, or an error code.
        code: u8,
        /// The granted properties.
        properties: Properties,
    },
    /// A message.
    Publish(Publish),
    /// A message was accepted.
    PubAck {
        /// Its id.
        id: u16,
        /// Less than 0x80, or an error code.
        code: u8,
        /// The reason string.
        reason: Option<String>,
    },
    /// The response to a subscription, with a code for each topic.
    SubAck {
        /// The codes.
        codes: Vec<u8>,
        /// The reason string.
        reason: Option<String>,
    },
    /// The response to a ping.
    Pong,
    /// The server ends the connection.
    Disconnect {
        /// The reason code.
        code: u8,
        /// The reason string.
        reason: Option<String>,
    },
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// Its topic.
    pub topic: String,
    /// The id for its acknowledgement; `None`: it needs none.
    pub id: Option<u16>,
    /// Its payload.
    pub payload: Bytes,
    /// Its user properties.
    pub user: Vec<(String, String)>,
    /// Bytes of the packet, if it is too long and only its beginning is included.
    pub total_bytes: Option<usize>,
}

impl Publish {
    /// Returns about how many bytes it takes in memory: a hostile server may send more properties than payload.
    pub fn memory_bytes(&self) -> usize {
        let user: usize =
            self.user.iter().map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len()).sum();
        size_of::<Publish>() + self.topic.len() + self.payload.len() + user
    }
}

/// Properties of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// The reason string.
    pub reason: Option<String>,
    /// How many seconds the server keeps a session.
    pub session_s: Option<u32>,
    /// How many unacknowledged messages the server accepts.
    pub receive_max: Option<u16>,
    /// Maximum bytes of a packet that the server accepts.
    pub packet_bytes_max: Option<u32>,
    /// The keep-alive interval in seconds that the server requires.
    pub keep_alive_s: Option<u16>,
    /// Whether the server does not support retained messages.
    pub no_retain: bool,
    /// Whether the server acknowledges nothing.
    pub no_acknowledgements: bool,
    /// User properties of a message.
    pub user: Vec<(String, String)>,
}

/// Why bytes are not a packet that a server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedPacket(pub &'static str);

/// A connection request.
pub struct Connect<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// The user.
    pub user: Option<&'a str>,
    /// The user's password.
    pub password: Option<&'a [u8]>,
    /// Whether the server drops an existing session of this client.
    pub clean: bool,
    /// How many seconds the server keeps the session after the connection ends.
    pub session_s: u32,
    /// The keep-alive interval in seconds.
    pub keep_alive_s: u16,
}

/// Encodes the first packet of a connection.
pub fn connect(to: &mut Vec<u8>, connect: &Connect<'_>) {
    let mut body = Vec::new();
    text(&mut body, b"MQTT");
    body.push(5);
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    body.push(flag(connect.clean, 0x02) | flag(connect.password.is_some(), 0x40) | flag(connect.user.is_some(), 0x80));
    body.extend(connect.keep_alive_s.to_be_bytes());
    let mut properties = vec![0x11];
    properties.extend(connect.session_s.to_be_bytes());
    // Without this property servers may assume a lower limit.
    properties.push(0x21);
    properties.extend(RECEIVE_MAX.to_be_bytes());
    length(&mut body, properties.len());
    body.extend(properties);
    text(&mut body, connect.client_id.as_bytes());
    connect.user.iter().for_each(|user| text(&mut body, user.as_bytes()));
    connect.password.iter().for_each(|password| text(&mut body, password));
    put(to, 0x10, &body);
}

/// Encodes a subscription. Retained messages are sent only for a subscription that did not exist.
pub fn subscribe(to: &mut Vec<u8>, id: u16, filters: &[String], acknowledged: bool) {
    let mut body = Vec::new();
    body.extend(id.to_be_bytes());
    body.push(0);
    for filter in filters {
        text(&mut body, filter.as_bytes());
        body.push(0x10 | u8::from(acknowledged));
    }
    put(to, 0x82, &body);
}

/// Encodes a message that is to be acknowledged; `None`: it is too long.
pub fn publish(to: &mut Vec<u8>, id: u16, topic: &str, payload: &[u8], retain: bool, is_resend: bool) -> Option<()> {
    let following = 2 + topic.len() + 2 + 1 + payload.len();
    if following > LENGTH_MAX {
        return None;
    }
    to.push(0x32 | u8::from(retain) | if is_resend { 0x08 } else { 0 });
    length(to, following);
    text(to, topic.as_bytes());
    to.extend(id.to_be_bytes());
    to.push(0);
    to.extend(payload);
    Some(())
}

/// Encodes an acknowledgement.
pub fn acknowledge(to: &mut Vec<u8>, id: u16) {
    put(to, 0x40, &id.to_be_bytes());
}

/// Encodes a ping.
pub fn ping(to: &mut Vec<u8>) {
    put(to, 0xc0, &[]);
}

fn put(to: &mut Vec<u8>, kind: u8, body: &[u8]) {
    to.push(kind);
    length(to, body.len());
    to.extend(body);
}

fn length(to: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length % 128) as u8;
        length /= 128;
        if length == 0 {
            return to.push(low);
        }
        to.push(low | 0x80);
    }
}

/// Appends a string, whose length the caller has checked.
fn text(to: &mut Vec<u8>, text: &[u8]) {
    let text = text.get(..text.len().min(usize::from(u16::MAX))).unwrap_or_default();
    to.extend((text.len() as u16).to_be_bytes());
    to.extend(text);
}

/// Takes the first packet out of received bytes; `None`: it is incomplete. Of a message that is too long, takes the beginning, and returns
/// how many further bytes to skip. Any other packet of that length is rejected before it is received.
pub fn take(from: &mut BytesMut, bytes_max: usize) -> Result<Option<(Packet, usize)>, MalformedPacket> {
    let Some(&kind) = from.first() else { return Ok(None) };
    let mut rest = from.get(1..).unwrap_or_default();
    let before = rest.len();
    let Some(length) = number(&mut rest)? else { return Ok(None) };
    let head = 1 + before - rest.len();
    let kept = if length > bytes_max { length.min(BEGINNING_BYTES) } else { length };
    if kept < length && kind >> 4 != 3 {
        return Err(MalformedPacket("it announces a packet longer than the requested maximum"));
    }
    if rest.len() < kept {
        return Ok(None);
    }
    let mut body = from.split_to(head + kept).freeze();
    body.advance(head);
    let mut packet = parse(kind, body)?;
    if let (true, Packet::Publish(publish)) = (kept < length, &mut packet) {
        publish.total_bytes = Some(length);
    }
    Ok(Some((packet, length - kept)))
}

/// Reads a number of up to four bytes; `None`: it is incomplete.
fn number(from: &mut &[u8]) -> Result<Option<usize>, MalformedPacket> {
    let mut number = 0;
    for index in 0..4 {
        let Some((byte, rest)) = from.split_first() else { return Ok(None) };
        *from = rest;
        number |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some(number));
        }
    }
    Err(MalformedPacket("a length has no end"))
}

const SHORT: MalformedPacket = MalformedPacket("it ends too early");

fn parse(kind: u8, mut body: Bytes) -> Result<Packet, MalformedPacket> {
    match kind >> 4 {
        2 => {
            let (flags, code) = (byte(&mut body)?, byte(&mut body)?);
            // Servers of older versions respond in their own format, without more after it.
            if body.is_empty() {
                let code = if code == 1 { 0x84 } else { code };
                return Ok(Packet::ConnAck { session: false, code, properties: Properties::default() });
            }
            Ok(Packet::ConnAck { session: flags & 1 == 1, code, properties: properties(&mut body)? })
        }
        3 => {
            let topic = string(&mut body)?;
            let id = match kind >> 1 & 3 {
                0 => None,
                1 => Some(two(&mut body)?),
                _ => return Err(MalformedPacket("a message of QoS 2 was not requested")),
            };
            let user = properties(&mut body)?.user;
            Ok(Packet::Publish(Publish { topic, id, payload: body, user, total_bytes: None }))
        }
        4 => {
            let id = two(&mut body)?;
            let (code, reason) = code_of(&mut body)?;
            Ok(Packet::PubAck { id, code, reason })
        }
        9 => {
            two(&mut body)?;
            let reason = properties(&mut body)?.reason;
            Ok(Packet::SubAck { codes: body.to_vec(), reason })
        }
        13 => Ok(Packet::Pong),
        14 => {
            let (code, reason) = code_of(&mut body)?;
            Ok(Packet::Disconnect { code, reason })
        }
        _ => Err(MalformedPacket("clients do not receive packets of its type")),
    }
}

/// Reads a reason code and a reason string, both of which may be missing.
fn code_of(body: &mut Bytes) -> Result<(u8, Option<String>), MalformedPacket> {
    if body.is_empty() {
        return Ok((0, None));
    }
    let code = byte(body)?;
    let reason = if body.is_empty() { None } else { properties(body)?.reason };
    Ok((code, reason))
}

fn properties(body: &mut Bytes) -> Result<Properties, MalformedPacket> {
    let mut rest = &body[..];
    let length = number(&mut rest)?.ok_or(SHORT)?;
    let head = body.len() - rest.len();
    body.advance(head);
    if body.len() < length {
        return Err(SHORT);
    }
    let mut all = body.split_to(length);
    let mut found = Properties::default();
    while !all.is_empty() {
        match byte(&mut all)? {
            0x01 | 0x17 | 0x19 | 0x28 | 0x29 | 0x2a => drop(byte(&mut all)?),
            0x24 => found.no_acknowledgements = byte(&mut all)? == 0,
            0x25 => found.no_retain = byte(&mut all)? == 0,
            0x02 | 0x18 => drop(four(&mut all)?),
            0x11 => found.session_s = Some(four(&mut all)?),
            0x27 => found.packet_bytes_max = Some(four(&mut all)?),
            0x22 | 0x23 => drop(two(&mut all)?),
            0x13 => found.keep_alive_s = Some(two(&mut all)?),
            0x21 => found.receive_max = Some(two(&mut all)?),
            0x0b => {
                let mut rest = &all[..];
                number(&mut rest)?.ok_or(SHORT)?;
                let read = all.len() - rest.len();
                all.advance(read);
            }
            0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c => drop(string(&mut all)?),
            0x09 | 0x16 => drop(binary(&mut all)?),
            0x1f => found.reason = Some(string(&mut all)?),
            0x26 => {
                let name = string(&mut all)?;
                found.user.push((name, string(&mut all)?));
            }
            _ => return Err(MalformedPacket("a property is unknown in MQTT 5")),
        }
    }
    Ok(found)
}

fn byte(from: &mut Bytes) -> Result<u8, MalformedPacket> {
    from.try_get_u8().map_err(|_| SHORT)
}

fn two(from: &mut Bytes) -> Result<u16, MalformedPacket> {
    from.try_get_u16().map_err(|_| SHORT)
}

fn four(from: &mut Bytes) -> Result<u32, MalformedPacket> {
    from.try_get_u32().map_err(|_| SHORT)
}

fn binary(from: &mut Bytes) -> Result<Bytes, MalformedPacket> {
    let length = usize::from(two(from)?);
    if from.len() < length {
        return Err(SHORT);
    }
    Ok(from.split_to(length))
}

fn string(from: &mut Bytes) -> Result<String, MalformedPacket> {
    String::from_utf8(binary(from)?.to_vec()).map_err(|_| MalformedPacket("a string is not UTF-8"))
}

/// Whether a topic matches a filter.
pub fn matches(filter: &str, topic: &str) -> bool {
    // Such topics are internal to the server, and wildcards do not match them.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (None, None) => return true,
            (Some(filter_level), Some(level)) if filter_level == "+" || filter_level == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8]) -> Result<Option<Packet>, MalformedPacket> {
        Ok(take(&mut BytesMut::from(bytes), 1_000)?.map(|(packet, _)| packet))
    }

    #[test]
    fn of_a_message_that_is_too_long_the_beginning_is_taken() {
        let mut long = BytesMut::from(&b"\x32\xff\xff\xff\x7f\x00\x01t\x01\x02\x00"[..]);
        assert_eq!(take(&mut long, 1_000), Ok(None));
        long.resize(BEGINNING_BYTES + 100, 7);
        let Ok(Some((Packet::Publish(publish), following))) = take(&mut long, 1_000) else { panic!("a message") };
        assert_eq!((publish.id, publish.topic.as_str(), publish.total_bytes), (Some(258), "t", Some(LENGTH_MAX)));
        assert_eq!((publish.payload.len(), following), (BEGINNING_BYTES - 6, LENGTH_MAX - BEGINNING_BYTES));
        // A message that is not much too long is included completely.
        let short = [&b"\x30\xd0\x0f\x00\x01t\x00"[..], &[7; 1_996]].concat();
        let Ok(Some((Packet::Publish(publish), 0))) = take(&mut BytesMut::from(&short[..]), 1_000) else {
            panic!("one")
        };
        assert_eq!((publish.payload.len(), publish.total_bytes), (1_996, None));
        assert!(taken(b"\x20\xff\xff\xff\x7f").is_err(), "no message, and too long");
    }

    #[test]
    fn packets_are_written_as_mqtt_5_has_them() {
        let mut to = Vec::new();
        let client = Connect {
            client_id: "c",
            user: Some("u"),
            password: Some(b"\xff"),
            clean: true,
            session_s: 9,
            keep_alive_s: 60,
        };
        connect(&mut to, &client);
        let head = b"\x10\x1c\x00\x04MQTT\x05\xc2\x00\x3c\x08\x11\x00\x00\x00\x09\x21\x75\x30";
        assert_eq!(to, [&head[..], b"\x00\x01c", b"\x00\x01u", b"\x00\x01\xff"].concat());
        to.clear();
        subscribe(&mut to, 1, &["a/#".into()], true);
        assert_eq!(to, b"\x82\x09\x00\x01\x00\x00\x03a/#\x11");
        to.clear();
        publish(&mut to, 258, "t", &[7; 200], true, false).expect("it is short");
        assert_eq!(&to[..10], b"\x33\xce\x01\x00\x01t\x01\x02\x00\x07");
        to.clear();
        acknowledge(&mut to, 258);
        ping(&mut to);
        assert_eq!(to, b"\x40\x02\x01\x02\xc0\x00");
    }

    #[test]
    fn packets_are_read_when_they_are_whole() {
        let complete = b"\x32\x12\x00\x01t\x01\x02\x07\x26\x00\x01k\x00\x01vhello";
        let publish = Publish {
            topic: "t".into(),
            id: Some(258),
            payload: Bytes::from_static(b"hello"),
            user: vec![("k".into(), "v".into())],
            total_bytes: None,
        };
        for cut in 0..complete.len() {
            assert_eq!(taken(&complete[..cut]), Ok(None), "{cut}");
        }
        let mut two = BytesMut::from([&complete[..], b"\xd0\x00\xe0"].concat().as_slice());
        assert_eq!(take(&mut two, 1_000), Ok(Some((Packet::Publish(publish), 0))));
        assert_eq!(take(&mut two, 1_000), Ok(Some((Packet::Pong, 0))));
        assert_eq!(take(&mut two, 1_000), Ok(None));
        let properties = Properties { receive_max: Some(20), ..Properties::default() };
        let expected = Packet::ConnAck { session: true, code: 0, properties };
        assert_eq!(taken(b"\x20\x06\x01\x00\x03\x21\x00\x14"), Ok(Some(expected)));
        let old = Packet::ConnAck { session: false, code: 0x84, properties: Properties::default() };
        assert_eq!(taken(b"\x20\x02\x00\x01"), Ok(Some(old)));
        assert_eq!(taken(b"\x40\x02\x00\x07"), Ok(Some(Packet::PubAck { id: 7, code: 0, reason: None })));
        assert_eq!(taken(b"\xe0\x01\x8e"), Ok(Some(Packet::Disconnect { code: 0x8e, reason: None })));
        assert_eq!(taken(b"\x90\x04\x00\x01\x00\x87"), Ok(Some(Packet::SubAck { codes: vec![0x87], reason: None })));
    }

    /// Any bytes are a packet, the beginning of one, or invalid.
    #[test]
    fn what_is_no_packet_is_refused() {
        for bytes in [
            &b"\x30\x01\x00"[..],
            b"\x30\x02\x00\x05",
            b"\x34\x05\x00\x01t\x00\x01",
            b"\x30\x04\x00\x01\xff\x00",
            b"\x30\x05\x00\x01t\x05\x01",
            b"\x30\x05\x00\x01t\x01\x7e",
            b"\x20\x01\x00",
            b"\x10\x00",
            b"\x30\xff\xff\xff\xff\x01",
        ] {
            assert!(taken(bytes).is_err(), "{bytes:x?}");
        }
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 33) as u8
                })
                .collect();
            for kind in 0..16 {
                let _ = taken(&[&[kind << 4 | bytes[0] & 15, bytes[1] % 24][..], &bytes[2..]].concat());
            }
        }
    }

    #[test]
    fn filters_match_as_mqtt_says() {
        for (filter, topic, is) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+/c", "a/b/c", true),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("+", "/a", false),
            ("/+", "/a", true),
        ] {
            assert_eq!(matches(filter, topic), is, "{filter} {topic}");
        }
    }
}
