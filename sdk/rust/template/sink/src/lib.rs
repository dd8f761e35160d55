//! A Millstream plugin of world `sink`: rows that leave for elsewhere.

use millstream_sdk::net::{Connection, Lines};
use millstream_sdk::sink::{Identity, Owner, Promise, Refusals};
use millstream_sdk::{Batch, Error, Row, Schema, Sink, Timestamp, sink};
use serde::Deserialize;
use std::time::Duration;

/// The columns that the plugin reads.
#[derive(Row)]
pub struct Entry<'a> {
    name: &'a str,
    amount: f64,
}

/// The sink's `config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server: `host:port`, as the job grants it.
    address: String,
}

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A line of the server that is longer is none.
const LINE_BYTES_MAX: usize = 1 << 10;
/// Bytes that are sent at a time.
const SENT_BYTES_MAX: usize = 1 << 16;

/// What writes the batches.
pub struct MyPlugin {
    server: Server,
    /// The last batch that the server had when the connection was made.
    last: Option<u64>,
    /// Rows that are still to be sent.
    buffer: Vec<u8>,
}

/// Writes entries to a server that keeps them, and the id of the batch that they came with, together.
#[sink]
impl Sink for MyPlugin {
    type Config = Config;

    fn promise(_: &Config) -> Promise {
        Promise::ExactlyOnce
    }

    fn reads(_: &Config, _: &Schema) -> Result<Schema, Error> {
        Ok(sink::columns::<Entry>())
    }

    fn committed(config: Config, identity: &Identity) -> Result<Option<u64>, Error> {
        let mut server = Server::connect(&config)?;
        server.ask(&format!("LAST {}/{}", identity.job_id, identity.sink))
    }

    fn open(config: Config, _: &Schema, owner: &Owner) -> Result<Self, Error> {
        let (of, generation) = (&owner.identity, owner.generation);
        let mut server = Server::connect(&config)?;
        // From now on the server takes nothing from those who came with a smaller number.
        let last = server.ask(&format!("OPEN {}/{} {generation}", of.job_id, of.sink))?;
        Ok(MyPlugin { server, last, buffer: Vec::new() })
    }

    fn last(&mut self) -> Result<Option<u64>, Error> {
        Ok(self.last)
    }

    fn begin(&mut self, batch: u64, _: Timestamp) -> Result<(), Error> {
        self.buffer = format!("BEGIN {batch}\n").into_bytes();
        Ok(())
    }

    fn write(&mut self, rows: &Batch, refused: &mut Refusals) -> Result<(), Error> {
        for (place, entry) in rows.each::<Entry>()?.enumerate() {
            if entry.name.contains(char::is_whitespace) {
                refused.refuse(place, "a name is one word");
                continue;
            }
            self.buffer.extend_from_slice(format!("ROW {} {}\n", entry.name, entry.amount).as_bytes());
            if self.buffer.len() >= SENT_BYTES_MAX {
                self.server.send(&mut self.buffer)?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: u64) -> Result<(), Error> {
        self.server.send(&mut self.buffer)?;
        let last = self.server.ask(&format!("COMMIT {batch}"))?;
        // What is not as it should be passes, perhaps: the host asks again what is there, and tries again.
        if last == Some(batch) { Ok(()) } else { Err(Error::internal("the server has not kept the batch")) }
    }
}

/// A connection to the server, which answers `LAST n`, or `LOST` to those who have lost the sink.
struct Server {
    lines: Lines,
}

impl Server {
    fn connect(config: &Config) -> Result<Server, Error> {
        Ok(Server { lines: Lines::new(Connection::connect(&config.address, TIMEOUT)?, LINE_BYTES_MAX) })
    }

    fn send(&mut self, buffer: &mut Vec<u8>) -> Result<(), Error> {
        for piece in buffer.chunks(SENT_BYTES_MAX) {
            self.lines.connection().write(piece, TIMEOUT)?;
        }
        buffer.clear();
        Ok(())
    }

    /// Says something, and hears of the last batch that is there.
    fn ask(&mut self, line: &str) -> Result<Option<u64>, Error> {
        self.send(&mut format!("{line}\n").into_bytes())?;
        let answer = String::from_utf8_lossy(self.lines.next(TIMEOUT)?).into_owned();
        match answer.split_once(' ') {
            Some(("LAST", "0")) => Ok(None),
            Some(("LAST", batch)) => batch.parse().map(Some).map_err(Error::internal),
            // It would only take the sink back.
            _ if answer == "LOST" => Err(Error::config("a later start of the job has taken the sink over")),
            _ => Err(Error::internal(format!("the server says {answer:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Serves so many connections, one after the other; what they have left behind.
    fn serve(listener: &TcpListener, connections: usize) -> Vec<(u64, Vec<String>)> {
        let (mut kept, mut owner) = (Vec::<(u64, Vec<String>)>::new(), 0);
        for _ in 0..connections {
            let (mut answers, _) = listener.accept().unwrap();
            let (mut rows, mut own) = (Vec::new(), u64::MAX);
            for line in BufReader::new(answers.try_clone().unwrap()).lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                match words[0] {
                    "OPEN" => (own, owner) = (words[2].parse().unwrap(), owner.max(words[2].parse().unwrap())),
                    "BEGIN" => rows.clear(),
                    "ROW" => rows.push(line["ROW ".len()..].to_owned()),
                    "COMMIT" if own == owner => kept.push((words[1].parse().unwrap(), std::mem::take(&mut rows))),
                    _ => {}
                }
                let last = kept.last().map_or(0, |(batch, _)| *batch);
                match words[0] {
                    "BEGIN" | "ROW" => {}
                    _ if own < owner => answers.write_all(b"LOST\n").unwrap(),
                    _ => answers.write_all(format!("LAST {last}\n").as_bytes()).unwrap(),
                }
            }
        }
        kept
    }

    #[test]
    fn a_batch_is_there_with_its_id_or_not_at_all() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = json!({"address": server.local_addr().unwrap().to_string()});
        let serving = std::thread::spawn(move || serve(&server, 4));
        let test = testing::sink::<MyPlugin>().config(config).input("name text, amount float64");
        let mut first = test.open("job", 1).unwrap();
        assert_eq!(first.last, None);
        let refused = first.batch(3, json!([{"name": "a", "amount": 1.5}, {"name": "b c", "amount": 2}])).unwrap();
        assert_eq!(refused, [(1, "a name is one word".to_owned())]);
        // It is lost in the middle of a batch.
        first.begun(4, json!([{"name": "d", "amount": 4}])).unwrap();
        drop(first);
        assert_eq!(test.committed("job").unwrap(), Some(3));
        let mut second = test.open("job", 2).unwrap();
        assert_eq!(second.last, Some(3));
        second.batch(4, json!([{"name": "e", "amount": 5}])).unwrap();
        drop(second);
        assert!(test.open("job", 1).is_err(), "it has lost the sink");
        let kept = [(3, vec!["a 1.5".to_owned()]), (4, vec!["e 5".to_owned()])];
        assert_eq!(serving.join().unwrap(), kept);
    }
}
