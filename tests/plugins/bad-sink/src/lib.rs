//! A sink that behaves as its config says, usually wrongly.

use millstream_sdk::net::Connection;
use millstream_sdk::sink::{Identity, Owner, Promise, Refusals};
use millstream_sdk::{Batch, Error, Row, Schema, Sink, Timestamp, log, sink};
use serde::Deserialize;
use std::time::Duration;

/// What to do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What goes wrong.
    #[serde(default)]
    fault: Wrong,
    /// Where to connect to when opened.
    #[serde(default)]
    address: String,
    /// Which columns it takes: those of `Number`, or any.
    #[serde(default)]
    any: bool,
}

/// What goes wrong.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Wrong {
    #[default]
    Nothing,
    ConfigInDescribe,
    ConnectInDescribe,
    LoopInCommitted,
    PanicInOpen,
    ConfigInOpen,
    ErrorInOpen,
    Connect,
    LoopInBegin,
    Panic,
    Memory,
    LoopInWrite,
    InputInWrite,
    RefusesSevens,
    RefusesBehind,
    RefusesTwice,
    LoopInCommit,
    ConfigInCommit,
    ErrorInCommit,
    HoldsTooMuch,
    Loose,
}

/// A number.
#[derive(Row)]
pub struct Number {
    n: i64,
}

/// One who writes nothing.
pub struct BadSink {
    config: Config,
    columns: usize,
    batch: u64,
    _connection: Option<Connection>,
}

/// What its config says.
#[sink]
impl Sink for BadSink {
    type Config = Config;

    fn promise(config: &Config) -> Promise {
        if config.fault == Wrong::Loose { Promise::AtLeastOnce } else { Promise::ExactlyOnce }
    }

    fn check(config: &Config) -> Result<(), Error> {
        match config.fault {
            Wrong::ConfigInDescribe => Err(Error::config("I do not like this config")),
            Wrong::ConnectInDescribe => Ok(Connection::connect(&config.address, Duration::from_secs(1)).map(drop)?),
            _ => Ok(()),
        }
    }

    fn reads(config: &Config, input: &Schema) -> Result<Schema, Error> {
        Ok(if config.any { input.clone() } else { sink::columns::<Number>() })
    }

    fn committed(config: Config, _: &Identity) -> Result<Option<u64>, Error> {
        if config.fault == Wrong::LoopInCommitted {
            forever();
        }
        Ok(None)
    }

    fn open(config: Config, input: &Schema, owner: &Owner) -> Result<BadSink, Error> {
        let (job, sink) = (&owner.identity.job, &owner.identity.sink);
        log::info(format!("{job}/{sink} is opened by start {} for {input}", owner.generation));
        let mut connection = None;
        match config.fault {
            Wrong::PanicInOpen => panic!("I cannot open"),
            Wrong::ConfigInOpen => return Err(Error::config("nothing can be opened with this config")),
            Wrong::ErrorInOpen => return Err(Error::internal("it is not open yet")),
            Wrong::Connect => connection = Some(Connection::connect(&config.address, Duration::from_secs(1))?),
            _ => {}
        }
        Ok(BadSink { config, columns: input.fields.len(), batch: 0, _connection: connection })
    }

    fn last(&mut self) -> Result<Option<u64>, Error> {
        Ok((self.config.fault == Wrong::HoldsTooMuch).then_some(u64::MAX))
    }

    fn begin(&mut self, batch: u64, _: Timestamp) -> Result<(), Error> {
        self.batch = batch;
        if self.config.fault == Wrong::LoopInBegin {
            forever();
        }
        Ok(())
    }

    fn write(&mut self, rows: &Batch, refused: &mut Refusals) -> Result<(), Error> {
        match self.config.fault {
            Wrong::Panic => panic!("batch {} is too much for me", self.batch),
            Wrong::LoopInWrite => forever(),
            Wrong::InputInWrite => return Err(Error::input("the rows do not fit")),
            Wrong::RefusesBehind => refused.refuse(rows.rows(), "no such row"),
            Wrong::RefusesTwice => (0..2).for_each(|_| refused.refuse(0, "twice")),
            Wrong::Memory => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1_u8; 1 << 20]);
                }
            }
            Wrong::RefusesSevens => {
                for (place, number) in rows.each::<Number>()?.enumerate().filter(|(_, number)| number.n % 10 == 7) {
                    refused.refuse(place, format!("{} is a\n\u{1b}[31mseven", number.n));
                }
            }
            _ => {}
        }
        if rows.width() != self.columns {
            return Err(Error::internal(format!("{} columns where {} were promised", rows.width(), self.columns)));
        }
        Ok(())
    }

    fn commit(&mut self, batch: u64) -> Result<(), Error> {
        match self.config.fault {
            Wrong::LoopInCommit => forever(),
            Wrong::ConfigInCommit => return Err(Error::config("the config does not fit what came")),
            Wrong::ErrorInCommit => return Err(Error::internal(format!("batch {batch} is not taken"))),
            _ => {}
        }
        log::info(format!("batch {batch} is taken"));
        Ok(())
    }
}

fn forever() {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}
