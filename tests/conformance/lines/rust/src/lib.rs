//! Reads lines from servers, and datagrams.

use millstream_sdk::net::{Connection, Datagrams, Fault, Lines};
use millstream_sdk::source::{Arrivals, Polled};
use millstream_sdk::{Error, Row, Source, log, source};
use serde::Deserialize;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const LINE_BYTES_MAX: usize = 1000;

/// The config: where lines come from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    addresses: Vec<String>,
}

/// A line.
#[derive(Row)]
pub struct Line<'a> {
    seq: i64,
    text: &'a str,
    half: Option<i64>,
}

impl Line<'_> {
    fn of(seq: i64, text: &str) -> Line<'_> {
        Line { seq, text, half: (seq % 2 == 0).then_some(seq / 2) }
    }
}

/// The reader of a partition.
pub enum Reader {
    /// Lines of a connection.
    Lines {
        /// The connection.
        lines: Lines,
        /// The number of the next line.
        next: i64,
    },
    /// A line in each datagram.
    Datagrams(Datagrams),
}

#[source]
impl Source for Reader {
    type Config = Config;
    type Row = Line<'static>;

    fn check(config: &Config) -> Result<(), Error> {
        if config.addresses.is_empty() { Err(Error::config("`addresses` is empty")) } else { Ok(()) }
    }

    fn partitions(config: &Config) -> Result<Vec<String>, Error> {
        Ok(config.addresses.clone())
    }

    fn open(_: Config, partition: &str, position: Option<&[u8]>) -> Result<Reader, Error> {
        if let Some(address) = partition.strip_prefix("udp:") {
            return Ok(Reader::Datagrams(Datagrams::bind(address)?));
        }
        let text = std::str::from_utf8(position.unwrap_or(b"0")).map_err(Error::internal)?;
        let next = text.parse().map_err(Error::internal)?;
        let mut connection = Connection::connect(partition, TIMEOUT)?;
        connection.write(format!("FROM {next}\n").as_bytes(), TIMEOUT)?;
        log::info(format!("{partition} is opened at {next}"));
        Ok(Reader::Lines { lines: Lines::new(connection, LINE_BYTES_MAX), next })
    }

    fn poll(&mut self, rows: &mut Arrivals<Line<'static>>, wait: Duration) -> Result<Polled, Error> {
        match self {
            Reader::Lines { lines, next } => poll_lines(lines, next, rows, wait),
            Reader::Datagrams(datagrams) => {
                match datagrams.receive(4, wait) {
                    Ok(came) => {
                        rows.push(Line::of(came.data.len() as i64, std::str::from_utf8(&came.data).unwrap_or("?")));
                    }
                    Err(Fault::Timeout) => return Ok(Polled::pause(Duration::from_millis(1))),
                    Err(fault) => return Err(fault.into()),
                }
                Ok(Polled::ready())
            }
        }
    }

    fn durable(&mut self, position: &[u8]) -> Result<(), Error> {
        self.tell(b"ACK ", position)
    }

    fn published(&mut self, position: &[u8]) -> Result<(), Error> {
        self.tell(b"DONE ", position)
    }
}

impl Reader {
    fn tell(&mut self, word: &[u8], position: &[u8]) -> Result<(), Error> {
        match self {
            Reader::Lines { lines, .. } => Ok(lines.connection().write(&[word, position, b"\n"].concat(), TIMEOUT)?),
            Reader::Datagrams(_) => Ok(()),
        }
    }
}

fn poll_lines(
    lines: &mut Lines,
    next: &mut i64,
    rows: &mut Arrivals<Line<'static>>,
    wait: Duration,
) -> Result<Polled, Error> {
    let mut wait = wait;
    while rows.left() > 0 {
        let line = match lines.next(wait) {
            Ok(line) => line,
            Err(Fault::Timeout) => break,
            Err(Fault::Closed) if !rows.is_empty() => break,
            Err(fault) => return Err(fault.into()),
        };
        if line == b"END" {
            return Ok(Polled::ended().at(next.to_string()));
        }
        match parse(line) {
            None => rows.refuse(line, "expected a number and a message"),
            Some((seq, _)) if seq != *next => {
                return Err(Error::internal(format!("got line {seq} instead of line {next}")));
            }
            Some((_, "wrong config")) => return Err(Error::config("the config does not fit")),
            Some((_, "mistake")) => panic!("cannot read `mistake`"),
            Some((seq, text)) => rows.push(Line::of(seq, text)),
        }
        *next += 1;
        wait = Duration::ZERO;
    }
    Ok(if rows.is_empty() { Polled::ready() } else { Polled::ready().at(next.to_string()) })
}

fn parse(line: &[u8]) -> Option<(i64, &str)> {
    let (seq, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((seq.parse().ok()?, text))
}
