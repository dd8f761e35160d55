//! Numbers, in a source that behaves as its config says, usually wrongly. A test may have written another variant into it, which
//! adds a fault with any config:
//!
//! - `fail`: polls fail
//! - `mute`: it returns no partitions
//! - `connect`: it opens a connection before it returns them

#[path = "../../varied/src/way.rs"]
mod way;

use millstream_sdk::net::{Connection, Datagrams, Fault};
use millstream_sdk::source::{Arrivals, Polled};
use millstream_sdk::{Error, Row, Source, counter, log, source};
use serde::Deserialize;
use std::time::Duration;

/// What to do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many numbers there are; each partition has them all.
    #[serde(default)]
    up_to: i64,
    /// How many partitions there are.
    #[serde(default = "one")]
    partitions: usize,
    /// How many of them have the same name.
    #[serde(default)]
    same_name: bool,
    /// What goes wrong.
    #[serde(default)]
    fault: Wrong,
    /// At which number.
    #[serde(default)]
    at: i64,
    /// The partition that comes little by little.
    #[serde(default)]
    slow: String,
    /// Where to connect to when opened.
    #[serde(default)]
    address: String,
    /// Where to listen for datagrams when opened: each is a row.
    #[serde(default)]
    listen: String,
}

fn one() -> usize {
    1
}

/// What goes wrong.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Wrong {
    #[default]
    Nothing,
    LoopInPoll,
    LoopInOpen,
    LoopInPartitions,
    Panic,
    PanicInOpen,
    PanicInDurable,
    TooManyRows,
    TooManyRefused,
    LongPosition,
    ConfigInOpen,
    ConfigInPoll,
    ErrorInOpen,
    ErrorInPoll,
    ErrorInPartitions,
    ErrorInDurable,
    ConfigInDescribe,
    ConnectInDescribe,
    NoPosition,
    Refuse,
    Silent,
    Sockets,
    Memory,
}

/// A number.
#[derive(Row)]
pub struct Number<'a> {
    n: i64,
    partition: &'a str,
}

/// One who counts.
pub struct BadSource {
    config: Config,
    partition: String,
    next: i64,
    _connection: Option<Connection>,
    datagrams: Option<Datagrams>,
}

/// Numbers, and what its config says.
#[source]
impl Source for BadSource {
    type Config = Config;
    type Row = Number<'static>;

    fn check(config: &Config) -> Result<(), Error> {
        match config.fault {
            Wrong::ConfigInDescribe => Err(Error::config("I do not like this config")),
            Wrong::ConnectInDescribe => Ok(Connection::connect(&config.address, Duration::from_secs(1)).map(drop)?),
            _ => Ok(()),
        }
    }

    fn partitions(config: &Config) -> Result<Vec<String>, Error> {
        match way::way() {
            "mute" => return Err(Error::internal("this version does not know its partitions")),
            "connect" => drop(Connection::connect("127.0.0.1:1", Duration::from_secs(1))?),
            _ => {}
        }
        match config.fault {
            Wrong::LoopInPartitions => forever(),
            Wrong::ErrorInPartitions => return Err(Error::internal("nobody tells me which partitions there are")),
            _ => {}
        }
        Ok((0..config.partitions).map(|i| format!("p{}", if config.same_name { 0 } else { i })).collect())
    }

    fn open(config: Config, partition: &str, position: Option<&[u8]>) -> Result<BadSource, Error> {
        match config.fault {
            Wrong::LoopInOpen => forever(),
            Wrong::PanicInOpen => panic!("I cannot open"),
            Wrong::ConfigInOpen => return Err(Error::config("no partition can be opened with this config")),
            Wrong::ErrorInOpen => return Err(Error::internal("it is not open yet")),
            _ => {}
        }
        let next = match position {
            Some(position) => {
                let text = std::str::from_utf8(position).map_err(Error::internal)?;
                text.trim_start_matches('x').parse().map_err(Error::internal)?
            }
            None => 0,
        };
        log::info(format!("{partition} is opened at {next}"));
        let address = Some(&config.address).filter(|address| !address.is_empty());
        let connection = match config.fault {
            Wrong::Sockets => {
                let mut all = Vec::new();
                loop {
                    all.push(Connection::connect(&config.address, Duration::from_secs(1))?);
                }
            }
            _ => address.map(|address| Connection::connect(address, Duration::from_secs(1))).transpose()?,
        };
        let listen = Some(&config.listen).filter(|address| !address.is_empty());
        let datagrams = listen.map(|address| Datagrams::bind(address)).transpose()?;
        Ok(BadSource { config, partition: partition.into(), next, _connection: connection, datagrams })
    }

    fn poll(&mut self, rows: &mut Arrivals<Number<'static>>, wait: Duration) -> Result<Polled, Error> {
        assert_ne!(way::way(), "fail", "this version cannot poll");
        if let Some(datagrams) = &mut self.datagrams {
            match datagrams.receive(100, wait) {
                Ok(came) => rows.push(Number { n: came.data.len() as i64, partition: &came.sender }),
                Err(Fault::Timeout) => {}
                Err(fault) => return Err(fault.into()),
            }
            return Ok(Polled::ready());
        }
        let is_time = self.next >= self.config.at;
        let most = rows.left();
        match self.config.fault {
            Wrong::LoopInPoll if is_time => forever(),
            Wrong::Panic if is_time => panic!("number {} is too much for me", self.next),
            Wrong::ConfigInPoll if is_time => return Err(Error::config("the config does not fit what came")),
            Wrong::ErrorInPoll if is_time => {
                return Err(Error::internal(format!("number {} will not come", self.next)));
            }
            Wrong::TooManyRows => (0..=most as i64).for_each(|n| rows.push(Number { n, partition: "" })),
            Wrong::TooManyRefused => (0..=most).for_each(|n| rows.refuse(n.to_string(), "I do not want it")),
            // What it reads from now on is nothing that anybody wants.
            Wrong::Silent if is_time => {
                self.next += 1;
                return Ok(Polled::pause(Duration::from_millis(50)).at(self.next.to_string()));
            }
            Wrong::LongPosition => return Ok(Polled::ready().at(vec![b'x'; 1 << 20])),
            Wrong::Memory => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1_u8; 1 << 20]);
                }
            }
            _ => {}
        }
        let end = if is_time { self.config.up_to } else { self.config.up_to.min(self.config.at) };
        let is_slow = self.config.slow == self.partition;
        let end = if is_slow { end.min(self.next + 10) } else { end };
        while rows.left() > 0 && self.next < end {
            match self.config.fault {
                Wrong::Refuse if self.next % 10 == 7 => rows.refuse(format!("{}\n\0\u{ff}", self.next), "a seven"),
                _ => rows.push(Number { n: self.next, partition: &self.partition }),
            }
            self.next += 1;
        }
        counter::add("numbers", (most - rows.left()) as u64);
        let polled = match self.next < self.config.up_to {
            true if is_slow => Polled::pause(Duration::from_millis(5)),
            true => Polled::ready(),
            false => Polled::ended(),
        };
        Ok(if self.config.fault == Wrong::NoPosition { polled } else { polled.at(self.next.to_string()) })
    }

    fn durable(&mut self, _: &[u8]) -> Result<(), Error> {
        match self.config.fault {
            Wrong::PanicInDurable => panic!("I do not want to hear it"),
            Wrong::ErrorInDurable => Err(Error::internal("nobody can be told")),
            _ => Ok(()),
        }
    }
}

fn forever() {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}
