//! Writes entries to a server that stores each batch once.

use millstream_sdk::net::{Connection, Lines};
use millstream_sdk::sink::{Identity, Owner, Promise, Refusals};
use millstream_sdk::{Batch, Error, Row, Schema, Sink, Timestamp, log, sink};
use serde::Deserialize;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const LINE_BYTES_MAX: usize = 1000;
const SENT_BYTES_MAX: usize = 1 << 16;

/// The config: where entries go.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    address: String,
    #[serde(default)]
    loose: bool,
}

/// An entry.
#[derive(Row)]
pub struct Entry<'a> {
    seq: i64,
    text: &'a str,
    half: Option<i64>,
}

/// The sink.
pub struct Entries {
    lines: Lines,
    last: Option<u64>,
    buffer: Vec<u8>,
}

#[sink]
impl Sink for Entries {
    type Config = Config;

    fn promise(config: &Config) -> Promise {
        if config.loose { Promise::AtLeastOnce } else { Promise::ExactlyOnce }
    }

    fn check(config: &Config) -> Result<(), Error> {
        if config.address.is_empty() { Err(Error::config("`address` is empty")) } else { Ok(()) }
    }

    fn reads(_: &Config, _: &Schema) -> Result<Schema, Error> {
        Ok(sink::columns::<Entry>())
    }

    fn committed(config: Config, of: &Identity) -> Result<Option<u64>, Error> {
        if config.loose {
            return Ok(None);
        }
        held(&mut connect(&config)?, &format!("ASK {}/{}\n", of.job_id, of.sink))
    }

    fn open(config: Config, _: &Schema, owner: &Owner) -> Result<Entries, Error> {
        let (of, mut lines) = (&owner.identity, connect(&config)?);
        let last = if config.loose {
            lines.connection().write(b"LOOSE\n", TIMEOUT)?;
            None
        } else {
            held(&mut lines, &format!("OPEN {}/{} {}\n", of.job_id, of.sink, owner.generation))?
        };
        log::info(format!("{}/{} is opened at {}", of.job, of.sink, last.unwrap_or_default()));
        Ok(Entries { lines, last, buffer: Vec::new() })
    }

    fn last(&mut self) -> Result<Option<u64>, Error> {
        Ok(self.last)
    }

    fn begin(&mut self, batch: u64, time: Timestamp) -> Result<(), Error> {
        self.buffer = format!("BEGIN {batch} {}\n", time.0).into_bytes();
        Ok(())
    }

    fn write(&mut self, rows: &Batch, refused: &mut Refusals) -> Result<(), Error> {
        for (index, Entry { seq, text, half }) in rows.each::<Entry>()?.enumerate() {
            match text {
                "wrong" => refused.refuse(index, format!("entry {seq} is wrong")),
                "wrong config" => return Err(Error::config("the config does not fit")),
                "wrong input" => return Err(Error::input("the rows do not fit")),
                "mistake" => panic!("cannot write `mistake`"),
                _ => {
                    let half = half.map_or("-".to_owned(), |half| half.to_string());
                    self.buffer.extend_from_slice(format!("ROW {seq} {half} {text}\n").as_bytes());
                }
            }
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
            b"DONE" => Ok(()),
            answer => Err(said(answer)),
        }
    }
}

impl Entries {
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

/// Returns the last stored batch, from the server's response.
fn held(lines: &mut Lines, question: &str) -> Result<Option<u64>, Error> {
    lines.connection().write(question.as_bytes(), TIMEOUT)?;
    let answer = lines.next(TIMEOUT)?;
    let batch = answer.strip_prefix(b"HELD ").and_then(|batch| std::str::from_utf8(batch).ok()?.parse().ok());
    let batch: u64 = batch.ok_or_else(|| said(answer))?;
    Ok(Some(batch).filter(|batch| *batch > 0))
}

fn said(answer: &[u8]) -> Error {
    match answer {
        b"LOST" => Error::config("a later start of the job has taken over the sink"),
        other => Error::internal(format!("the server replied {:?}", String::from_utf8_lossy(other))),
    }
}
