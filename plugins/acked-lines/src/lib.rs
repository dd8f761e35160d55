//! Reads lines from servers that drop acknowledged lines.
//!
//! Each address is a partition. The plugin sends `FROM n`, and the server sends its lines from number `n` on, each as its number,
//! a space and its text; a line in another format is rejected, and replaces the expected line. `ACK n` reports that the lines
//! below `n` are durable, `DONE n` that they will never be requested again. `END` says that there are no more lines.

use millstream_sdk::net::{Connection, Fault, Lines};
use millstream_sdk::source::{Arrivals, Polled};
use millstream_sdk::{Error, Row, Source, source};
use serde::Deserialize;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const LINE_BYTES_MAX: usize = 1 << 16;

/// Where lines come from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The servers: `host:port`.
    addresses: Vec<String>,
}

/// A line.
#[derive(Row)]
pub struct Line<'a> {
    seq: i64,
    text: &'a str,
}

/// A reader of a server's lines.
pub struct AckedLines {
    lines: Lines,
    /// The number of the next line.
    next: i64,
}

/// Lines over TCP, which their server may delete when they are durable.
#[source]
impl Source for AckedLines {
    type Config = Config;
    type Row = Line<'static>;

    fn check(config: &Config) -> Result<(), Error> {
        if config.addresses.is_empty() {
            return Err(Error::config("`addresses` is empty"));
        }
        Ok(())
    }

    fn partitions(config: &Config) -> Result<Vec<String>, Error> {
        Ok(config.addresses.clone())
    }

    fn open(_: Config, partition: &str, position: Option<&[u8]>) -> Result<AckedLines, Error> {
        let next = match position {
            Some(position) => number(position).ok_or_else(|| Error::internal("invalid position"))?,
            None => 0,
        };
        let mut connection = Connection::connect(partition, TIMEOUT)?;
        connection.write(format!("FROM {next}\n").as_bytes(), TIMEOUT)?;
        Ok(AckedLines { lines: Lines::new(connection, LINE_BYTES_MAX), next })
    }

    fn poll(&mut self, rows: &mut Arrivals<Line<'static>>, wait: Duration) -> Result<Polled, Error> {
        let mut wait = wait;
        while rows.left() > 0 {
            let line = match self.lines.next(wait) {
                Ok(line) => line,
                Err(Fault::Timeout) => break,
                // What came before the end is good; the next poll hears of the end again.
                Err(Fault::Closed) if !rows.is_empty() => break,
                Err(fault) => return Err(fault.into()),
            };
            if line == b"END" {
                return Ok(Polled::ended().at(self.next.to_string()));
            }
            match parse(line) {
                Some((seq, text)) if seq == self.next => rows.push(Line { seq, text }),
                Some((seq, _)) => {
                    let due = self.next;
                    // Retries do not help: the server has dropped the line, or never had it.
                    return Err(Error::config(format!("got line {seq} instead of line {due}")));
                }
                None => rows.refuse(line, "expected a number and a message"),
            }
            self.next += 1;
            wait = Duration::ZERO;
        }
        Ok(if rows.is_empty() { Polled::ready() } else { Polled::ready().at(self.next.to_string()) })
    }

    fn durable(&mut self, position: &[u8]) -> Result<(), Error> {
        self.tell(b"ACK ", position)
    }

    fn published(&mut self, position: &[u8]) -> Result<(), Error> {
        self.tell(b"DONE ", position)
    }
}

impl AckedLines {
    fn tell(&mut self, word: &[u8], position: &[u8]) -> Result<(), Error> {
        Ok(self.lines.connection().write(&[word, position, b"\n"].concat(), TIMEOUT)?)
    }
}

fn parse(line: &[u8]) -> Option<(i64, &str)> {
    let (seq, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((seq.parse().ok()?, text))
}

fn number(position: &[u8]) -> Option<i64> {
    std::str::from_utf8(position).ok()?.parse().ok()
}
