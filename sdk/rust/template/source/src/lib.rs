//! A Millstream plugin of world `source`: reads rows from an external system.

use millstream_sdk::net::{Connection, Fault, Lines};
use millstream_sdk::source::{Arrivals, Polled};
use millstream_sdk::{Error, Row, Source, source};
use serde::Deserialize;
use std::time::Duration;

/// An output row.
#[derive(Row)]
pub struct Line<'a> {
    number: i64,
    text: &'a str,
}

/// The source's `config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the server, `host:port`. The job must grant the same address.
    address: String,
}

/// Maximum time to wait for a reply of the server.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum length of a line. A longer line is an error.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Reads the lines.
pub struct MyPlugin {
    lines: Lines,
    /// Number of the next line, which is the position of the partition.
    next: i64,
}

/// Reads lines from a server. After `FROM n`, the server sends its lines from number n on.
#[source]
impl Source for MyPlugin {
    type Config = Config;
    type Row = Line<'static>;

    fn open(config: Config, _partition: &str, position: Option<&[u8]>) -> Result<Self, Error> {
        let next = match position {
            Some(position) => i64::from_le_bytes(position.try_into().map_err(Error::internal)?),
            None => 0,
        };
        let mut connection = Connection::connect(&config.address, TIMEOUT)?;
        connection.write(format!("FROM {next}\n").as_bytes(), TIMEOUT)?;
        Ok(MyPlugin { lines: Lines::new(connection, LINE_BYTES_MAX), next })
    }

    fn poll(&mut self, rows: &mut Arrivals<Line<'static>>, wait: Duration) -> Result<Polled, Error> {
        let mut wait = wait;
        while rows.left() > 0 {
            let line = match self.lines.next(wait) {
                Ok(line) => line,
                Err(Fault::Timeout) => break,
                // Return the rows first. The next poll receives the same error and has no rows to lose.
                Err(Fault::Closed) if !rows.is_empty() => break,
                // The error is transient: the host opens the partition again after a delay.
                Err(fault) => return Err(fault.into()),
            };
            match std::str::from_utf8(line) {
                Ok(text) => rows.push(Line { number: self.next, text }),
                Err(error) => rows.refuse(line, error),
            }
            self.next += 1;
            // Wait only for the first line.
            wait = Duration::ZERO;
        }
        Ok(Polled::ready().at(self.next.to_le_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    #[test]
    fn goes_on_where_it_left_off() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut connection, _) = server.accept().unwrap();
                let mut asked = String::new();
                BufReader::new(&connection).read_line(&mut asked).unwrap();
                let from: usize = asked.trim().strip_prefix("FROM ").unwrap().parse().unwrap();
                let lines: [&[u8]; 4] = [b"to\n", b"be\n", b"\xff\n", b"or\n"];
                connection.write_all(&lines[from..].concat()).unwrap();
            }
        });
        let test = testing::source::<MyPlugin>().config(json!({"address": address}));
        let first = test.open("", None).unwrap().poll(2, TIMEOUT).unwrap();
        assert_eq!(first.rows, json!([{"number": 0, "text": "to"}, {"number": 1, "text": "be"}]));
        let mut again = test.open("", first.position.as_deref()).unwrap();
        let rest = again.poll(9, TIMEOUT).unwrap();
        assert_eq!(rest.rows, json!([{"number": 3, "text": "or"}]));
        assert_eq!(rest.refused[0].data, b"\xff");
        serving.join().unwrap();
    }
}
