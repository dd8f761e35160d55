//! Sources, through the macro and the test runner.

use millstream_sdk::net::{Connection, Datagrams, Fault, Lines};
use millstream_sdk::source::{Arrivals, Next, Polled, Refused};
use millstream_sdk::{Error, Row, Source, json, source, testing};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(10);

#[derive(Row)]
struct Number<'a> {
    n: i64,
    of: &'a str,
}

#[derive(serde::Deserialize)]
struct Config {
    up_to: i64,
}

struct Numbers {
    next: i64,
    up_to: i64,
    of: String,
}

/// Numbers, but for sevens.
#[source(config_schema = "{}")]
impl Source for Numbers {
    type Config = Config;
    type Row = Number<'static>;

    fn check(config: &Config) -> Result<(), Error> {
        if config.up_to < 0 { Err(Error::config("there are no such numbers")) } else { Ok(()) }
    }

    fn partitions(_: &Config) -> Result<Vec<String>, Error> {
        Ok(vec!["a".into(), "b".into()])
    }

    fn open(config: Config, partition: &str, position: Option<&[u8]>) -> Result<Numbers, Error> {
        let next = position.map_or(Ok([0; 8]), TryInto::try_into).map_err(Error::internal)?;
        Ok(Numbers { next: i64::from_le_bytes(next), up_to: config.up_to, of: partition.into() })
    }

    fn poll(&mut self, rows: &mut Arrivals<Number<'static>>, wait: Duration) -> Result<Polled, Error> {
        while self.next < self.up_to && rows.left() > 0 {
            match self.next % 10 {
                7 => rows.refuse("7", "a seven"),
                _ => rows.push(Number { n: self.next, of: &self.of }),
            }
            self.next += 1;
        }
        let polled = if rows.is_empty() { Polled::pause(wait) } else { Polled::ready() };
        Ok(if self.next < self.up_to { polled } else { Polled::ended() }.at(self.next.to_le_bytes()))
    }
}

#[test]
fn a_source_goes_on_at_its_position() {
    let test = testing::source::<Numbers>().config(json!({ "up_to": 9 }));
    let description = test.describe().unwrap();
    assert_eq!((description.doc.as_str(), description.config_schema.as_str()), ("Numbers, but for sevens.", "{}"));
    assert_eq!(description.output.to_string(), "n int64, of text");
    assert_eq!(test.partitions().unwrap(), ["a", "b"]);
    let first = test.open("a", None).unwrap().poll(6, SHORT).unwrap();
    assert_eq!((first.rows.as_array().unwrap().len(), first.next), (6, Next::Ready));
    let mut again = test.open("b", first.position.as_deref()).unwrap();
    let rest = again.poll(6, SHORT).unwrap();
    assert_eq!(rest.rows, json!([{ "n": 6, "of": "b" }, { "n": 8, "of": "b" }]));
    assert_eq!(rest.refused, [Refused { data: b"7".to_vec(), reason: "a seven".into() }]);
    assert_eq!((rest.position, rest.next), (Some(9_i64.to_le_bytes().to_vec()), Next::Ended));
    again.durable(b"any").unwrap();
    again.published(b"any").unwrap();
    let wrong = testing::source::<Numbers>().config(json!({ "up_to": -1 }));
    assert_eq!(wrong.describe(), Err(Error::config("there are no such numbers")));
    let other = testing::source::<Numbers>().config(json!({ "upto": 1 })).describe();
    assert!(matches!(other, Err(Error::Config(words)) if words.contains("missing field `up_to`")));
}

struct Nothing;

#[source]
impl Source for Nothing {
    type Config = ();
    type Row = ();

    fn open((): (), _: &str, _: Option<&[u8]>) -> Result<Nothing, Error> {
        Ok(Nothing)
    }

    fn poll(&mut self, rows: &mut Arrivals<()>, _: Duration) -> Result<Polled, Error> {
        (0..3).for_each(|_| rows.push(()));
        Ok(Polled::ready())
    }
}

#[test]
fn a_source_may_take_no_config_and_give_no_more_than_it_is_asked_for() {
    let test = testing::source::<Nothing>();
    assert_eq!(test.partitions().unwrap(), [""]);
    assert_eq!(test.open("", None).unwrap().poll(3, SHORT).unwrap().rows, json!([{}, {}, {}]));
    let more = test.open("", None).unwrap().poll(2, SHORT).unwrap_err();
    assert!(more.message().contains("at most 2"), "{more:?}");
    assert!(testing::source::<Nothing>().config(json!({ "a": 1 })).describe().is_err());
}

#[test]
fn lines_come_whole_however_they_are_sent() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = Connection::connect(&server.local_addr().unwrap().to_string(), LONG).unwrap();
    let (mut other, _) = server.accept().unwrap();
    let mut lines = Lines::new(connection, 10);
    assert_eq!(lines.next(SHORT), Err(Fault::Timeout));
    other.write_all(b"one\r\n\ntw").unwrap();
    assert_eq!(lines.next(LONG), Ok(&b"one"[..]));
    assert_eq!(lines.next(LONG), Ok(&b""[..]));
    assert_eq!(lines.next(SHORT), Err(Fault::Timeout));
    other.write_all(b"o\nthree").unwrap();
    assert_eq!(lines.next(LONG), Ok(&b"two"[..]));
    lines.connection().write(b"thanks", LONG).unwrap();
    let mut heard = [0; 6];
    other.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"thanks");
    other.write_all(b" and more").unwrap();
    drop(other);
    let long = loop {
        match lines.next(LONG) {
            Err(Fault::Timeout) => {}
            other => break other,
        }
    };
    assert_eq!(long, Err(Fault::Failed("a line of more than 10 bytes".into())));
}

#[test]
fn datagrams_are_sent_and_received() {
    let own = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = own.local_addr().unwrap().to_string();
    let mut socket = Datagrams::bind("127.0.0.1:0").unwrap();
    assert_eq!(socket.receive(9, SHORT), Err(Fault::Timeout));
    socket.send(&address, b"ping").unwrap();
    let mut heard = [0; 9];
    let (count, from) = own.recv_from(&mut heard).unwrap();
    assert_eq!(&heard[..count], b"ping");
    own.send_to(b"a long answer", from).unwrap();
    let came = socket.receive(6, LONG).unwrap();
    assert_eq!((came.sender, came.data), (address, b"a long".to_vec()));
    assert!(matches!(Datagrams::bind("nowhere"), Err(Fault::Failed(words)) if words.contains("is not an address")));
}
