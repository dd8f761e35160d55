//! A Millstream plugin of world `sink`: writes rows to an external system.

use millstream_sdk::net::{Connection, Lines};
use millstream_sdk::sink::{Identity, Owner, Promise, Refusals};
use millstream_sdk::{Batch, Error, Row, Schema, Sink, Timestamp, sink};
use serde::Deserialize;
use std::time::Duration;

/// An input row.
#[derive(Row)]
pub struct Entry<'a> {
    name: &'a str,
    amount: f64,
}

/// The sink's `config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the server, `host:port`. The job must grant the same address.
    address: String,
}

/// Maximum time to wait for a reply of the server.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum length of a line from the server. A longer line is an error.
const LINE_BYTES_MAX: usize = 1 << 10;
/// Size at which buffered rows are sent, in bytes.
const SENT_BYTES_MAX: usize = 1 << 16;

/// Writes the batches.
pub struct MyPlugin {
    server: Server,
    /// Last batch that the server had stored when this connection was opened.
    last: Option<u64>,
    /// Rows that are not yet sent.
    buffer: Vec<u8>,
}

/// Writes entries to a server. The server stores the entries of a batch and the batch ID atomically.
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
        // From now on, the server rejects writers with a smaller generation.
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
        for (index, entry) in rows.each::<Entry>()?.enumerate() {
            if entry.name.contains(char::is_whitespace) {
                refused.refuse(index, "a name is one word");
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
        // The error may be transient: the host calls `committed` again and then retries.
        if last == Some(batch) { Ok(()) } else { Err(Error::internal("the server has not kept the batch")) }
    }
}

/// A connection to the server. The server replies `LAST n`, or `LOST` if a later start has taken over the sink.
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

    /// Sends a line. Returns the last batch that the server has stored.
    fn ask(&mut self, line: &str) -> Result<Option<u64>, Error> {
        self.send(&mut format!("{line}\n").into_bytes())?;
        let answer = String::from_utf8_lossy(self.lines.next(TIMEOUT)?).into_owned();
        match answer.split_once(' ') {
            Some(("LAST", "0")) => Ok(None),
            Some(("LAST", batch)) => batch.parse().map(Some).map_err(Error::internal),
            // A retry would take over the sink again, so this error must stop the job.
            _ if answer == "LOST" => Err(Error::config("a later start of the job has taken over the sink")),
            _ => Err(Error::internal(format!("the server replied {answer:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Serves this many connections in sequence. Returns the batches that they have committed.
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
        // The connection is lost in the middle of a batch.
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
