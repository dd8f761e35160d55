//! Writes entries to a server, which stores those of a batch together with its id.
//!
//! The plugin sends `ASK key` or `OPEN key generation`, where the key names job and sink, and receives `HELD n`, the last stored
//! batch, or `LOST` if a later start owns the sink. Then follow `BEGIN n time`, a line `ROW seq text` for each row, and `COMMIT
//! n`, to which the server responds with `DONE`. A server that cannot store batches and ids together gets `LOOSE`, and is not
//! queried.
//!
//! A test may have written another variant into it:
//!
//! - `loose`: it guarantees less
//! - `other`: it reads other columns
//! - `forgets`: it reports that nothing is stored
//! - `fail`: writing fails
//! - `refuse`: it rejects each row

#[path = "../../varied/src/way.rs"]
mod way;

use millstream_sdk::net::{Connection, Lines};
use millstream_sdk::sink::{Identity, Owner, Promise, Refusals};
use millstream_sdk::{Batch, Error, Row, Schema, Sink, Timestamp, counter, sink};
use serde::Deserialize;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const LINE_BYTES_MAX: usize = 1 << 10;
const SENT_BYTES_MAX: usize = 1 << 16;

/// Where entries go.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server: `host:port`.
    address: String,
    /// Whether the server keeps rows as they come.
    #[serde(default)]
    loose: bool,
}

/// An entry.
#[derive(Row)]
pub struct Entry<'a> {
    seq: i64,
    text: &'a str,
}

/// What an entry has where it is read by its number alone.
#[derive(Row)]
pub struct Number {
    seq: i64,
}

/// One who writes.
pub struct TcpLedger {
    lines: Lines,
    held: Option<u64>,
    buffer: Vec<u8>,
}

/// Entries over TCP, for a server that keeps them once.
#[sink]
impl Sink for TcpLedger {
    type Config = Config;

    fn promise(config: &Config) -> Promise {
        if config.loose || way::way() == "loose" { Promise::AtLeastOnce } else { Promise::ExactlyOnce }
    }

    fn check(config: &Config) -> Result<(), Error> {
        if config.address.is_empty() { Err(Error::config("`address` is empty")) } else { Ok(()) }
    }

    fn reads(_: &Config, _: &Schema) -> Result<Schema, Error> {
        Ok(if way::way() == "other" { sink::columns::<Number>() } else { sink::columns::<Entry>() })
    }

    fn committed(config: Config, of: &Identity) -> Result<Option<u64>, Error> {
        if way::way() == "forgets" {
            return Ok(None);
        }
        let mut lines = connect(&config)?;
        held(&mut lines, &format!("ASK {}/{}\n", of.job_id, of.sink))
    }

    fn open(config: Config, _: &Schema, owner: &Owner) -> Result<TcpLedger, Error> {
        let (of, mut lines) = (&owner.identity, connect(&config)?);
        if config.loose {
            lines.connection().write(b"LOOSE\n", TIMEOUT)?;
            return Ok(TcpLedger { lines, held: None, buffer: Vec::new() });
        }
        let held = held(&mut lines, &format!("OPEN {}/{} {}\n", of.job_id, of.sink, owner.generation))?;
        Ok(TcpLedger { lines, held, buffer: Vec::new() })
    }

    fn last(&mut self) -> Result<Option<u64>, Error> {
        Ok(self.held)
    }

    fn begin(&mut self, batch: u64, time: Timestamp) -> Result<(), Error> {
        self.buffer = format!("BEGIN {batch} {}\n", time.0).into_bytes();
        Ok(())
    }

    fn write(&mut self, rows: &Batch, refused: &mut Refusals) -> Result<(), Error> {
        match way::way() {
            "fail" => panic!("this version cannot write"),
            "refuse" => {
                (0..rows.rows()).for_each(|row| refused.refuse(row, "this version refuses all"));
                return Ok(());
            }
            _ => {}
        }
        for entry in rows.each::<Entry>()? {
            self.buffer.extend_from_slice(format!("ROW {} {}\n", entry.seq, entry.text).as_bytes());
            if self.buffer.len() > SENT_BYTES_MAX {
                self.send()?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: u64) -> Result<(), Error> {
        self.buffer.extend_from_slice(format!("COMMIT {batch}\n").as_bytes());
        self.send()?;
        match self.lines.next(TIMEOUT)? {
            b"DONE" => {
                counter::add("commits", 1);
                Ok(())
            }
            b"LOST" => Err(lost()),
            other => Err(said(other)),
        }
    }
}

impl TcpLedger {
    fn send(&mut self) -> Result<(), Error> {
        for piece in self.buffer.chunks(SENT_BYTES_MAX) {
            self.lines.connection().write(piece, TIMEOUT)?;
        }
        self.buffer.clear();
        Ok(())
    }
}

fn connect(config: &Config) -> Result<Lines, Error> {
    Ok(Lines::new(Connection::connect(&config.address, TIMEOUT)?, LINE_BYTES_MAX))
}

fn held(lines: &mut Lines, question: &str) -> Result<Option<u64>, Error> {
    lines.connection().write(question.as_bytes(), TIMEOUT)?;
    let answer = lines.next(TIMEOUT)?;
    if answer == b"LOST" {
        return Err(lost());
    }
    let batch = answer.strip_prefix(b"HELD ").and_then(|batch| std::str::from_utf8(batch).ok()?.parse().ok());
    let batch: u64 = batch.ok_or_else(|| said(answer))?;
    Ok(Some(batch).filter(|batch| *batch > 0))
}

fn lost() -> Error {
    Error::config("a later start of the job has taken over the sink")
}

fn said(answer: &[u8]) -> Error {
    Error::internal(format!("the server replied {:?}", String::from_utf8_lossy(answer)))
}
