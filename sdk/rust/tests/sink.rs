//! Sinks, through the macro and the test runner.

use millstream_sdk::sink::{Identity, Owner, Promise, Refusals};
use millstream_sdk::{Batch, Error, Row, Schema, Sink, Timestamp, json, sink, testing};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The stored data per job: the last batch, and the rows.
type There = BTreeMap<String, (u64, Vec<i64>)>;

fn there() -> MutexGuard<'static, There> {
    static THERE: LazyLock<Mutex<There>> = LazyLock::new(Mutex::default);
    THERE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Row)]
struct Number {
    n: i64,
}

#[derive(serde::Deserialize)]
struct Config {
    #[serde(default)]
    most: Option<i64>,
    #[serde(default)]
    any: bool,
}

struct Numbers {
    config: Config,
    of: String,
    batch: u64,
    rows: Vec<i64>,
}

/// Numbers that are not too large.
#[sink(config_schema = "{}")]
impl Sink for Numbers {
    type Config = Config;

    fn promise(_: &Config) -> Promise {
        Promise::ExactlyOnce
    }

    fn check(config: &Config) -> Result<(), Error> {
        if config.most == Some(0) { Err(Error::config("no number is so small")) } else { Ok(()) }
    }

    fn reads(config: &Config, input: &Schema) -> Result<Schema, Error> {
        Ok(if config.any { input.clone() } else { sink::columns::<Number>() })
    }

    fn committed(_: Config, identity: &Identity) -> Result<Option<u64>, Error> {
        Ok(there().get(&identity.job_id).map(|(batch, _)| *batch))
    }

    fn open(config: Config, _: &Schema, owner: &Owner) -> Result<Numbers, Error> {
        Ok(Numbers { config, of: owner.identity.job_id.clone(), batch: 0, rows: Vec::new() })
    }

    fn last(&mut self) -> Result<Option<u64>, Error> {
        Ok(there().get(&self.of).map(|(batch, _)| *batch))
    }

    fn begin(&mut self, batch: u64, time: Timestamp) -> Result<(), Error> {
        assert_eq!(time.0, batch as i64 * 1_000_000);
        (self.batch, self.rows) = (batch, Vec::new());
        Ok(())
    }

    fn write(&mut self, rows: &Batch, refused: &mut Refusals) -> Result<(), Error> {
        for (place, number) in rows.each::<Number>()?.enumerate() {
            match self.config.most.is_some_and(|most| number.n > most) {
                true => refused.refuse(place, "it is too large"),
                false => self.rows.push(number.n),
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: u64) -> Result<(), Error> {
        assert_eq!(batch, self.batch);
        let mut there = there();
        let (last, rows) = there.entry(self.of.clone()).or_default();
        *last = batch;
        rows.append(&mut self.rows);
        Ok(())
    }
}

#[test]
fn batches_are_there_when_they_are_committed() {
    let test = testing::sink::<Numbers>().config(json!({"most": 9})).input("n int64, word text");
    let mut first = test.open("a", 1).unwrap();
    assert_eq!((first.last, test.committed("a").unwrap()), (None, None));
    let refused = first.batch(2, json!([{"n": 1}, {"n": 10}, {"n": 2}])).unwrap();
    assert_eq!(refused, [(1, "it is too large".to_owned())]);
    assert_eq!(first.begun(3, json!([{"n": 3}])).unwrap(), []);
    let second = test.open("a", 2).unwrap();
    assert_eq!((second.last, test.committed("a").unwrap()), (Some(2), Some(2)));
    assert_eq!(there()["a"], (2, vec![1, 2]));
}

#[test]
fn a_sink_says_what_it_reads_and_promises() {
    let said = testing::sink::<Numbers>().input("n int64, word text").describe().unwrap();
    assert_eq!((said.input.to_string().as_str(), said.promise), ("n int64", Promise::ExactlyOnce));
    assert_eq!((said.name.as_str(), said.doc.as_str()), ("millstream-sdk", "Numbers that are not too large."));
    let any = testing::sink::<Numbers>().config(json!({"any": true})).input("n int64, word text").describe();
    assert_eq!(any.unwrap().input.to_string(), "n int64, word text");
    let wrong = testing::sink::<Numbers>().config(json!({"most": 0})).describe();
    assert_eq!(wrong.unwrap_err(), Error::config("no number is so small"));
}
