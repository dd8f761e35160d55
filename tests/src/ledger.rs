//! A server of entries as `tests/plugins/tcp-ledger` and `tests/conformance/entries` write them.

use crate::Random;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// A server that keeps the entries of a batch together with its id.
#[derive(Clone)]
pub struct Ledger {
    /// The port it listens on.
    pub port: u16,
    state: Arc<Mutex<LedgerState>>,
}

/// What a server has received, and how it behaves.
#[derive(Default)]
pub struct LedgerState {
    sinks: BTreeMap<String, Sink>,
    /// Entries that came without a promise.
    loose: Vec<String>,
    /// Connections that were cut.
    pub cut: usize,
    /// The number of commits that get no response.
    pub unresponsive: usize,
    /// Whether it responds to nobody.
    pub away: bool,
    random: Option<Random>,
}

/// The data of a sink.
#[derive(Clone, Debug, Default)]
pub struct Sink {
    generation: u64,
    /// How often it was opened. Of the connections of one start, only the last one is valid.
    serial: u64,
    /// Batches in the order in which they came.
    pub batches: Vec<(u64, Vec<String>)>,
    /// By which starts it was opened.
    pub opened: Vec<u64>,
    /// The requests that it received.
    pub requests: Vec<SinkRequest>,
}

/// A request to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkRequest {
    /// Which batch is the last one.
    Held,
    /// The same, and the sink is taken over.
    Open,
}

impl Sink {
    /// All entries, in order.
    pub fn rows(&self) -> Vec<String> {
        self.batches.iter().flat_map(|(_, rows)| rows.clone()).collect()
    }

    fn last_committed(&self) -> u64 {
        self.batches.last().map_or(0, |(batch, _)| *batch)
    }
}

impl Ledger {
    /// Listens; with a `seed` it cuts connections.
    pub fn start(port: u16, seed: Option<u64>) -> Ledger {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let state = LedgerState { random: seed.map(Random::new), ..LedgerState::default() };
        let ledger = Ledger { port, state: Arc::new(Mutex::new(state)) };
        let serving = ledger.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(connection.unwrap()));
            }
        });
        ledger
    }

    /// What it has received.
    pub fn state(&self) -> MutexGuard<'_, LedgerState> {
        self.state.lock().unwrap()
    }

    /// Its data, by job and sink.
    pub fn sinks(&self) -> BTreeMap<String, Sink> {
        self.state().sinks.clone()
    }

    /// The rows that it got without a guarantee.
    pub fn loose(&self) -> Vec<String> {
        self.state().loose.clone()
    }

    /// Acts as if another start of the job had taken over the sinks.
    pub fn overtake(&self) {
        self.state().sinks.values_mut().for_each(|sink| sink.generation = 1_000_000);
    }

    /// Drops the last batches and all current connections.
    pub fn forget(&self, batches: usize) {
        let mut state = self.state();
        state.away = true;
        state.sinks.values_mut().for_each(|sink| sink.batches.truncate(sink.batches.len() - batches));
    }

    fn serve(&self, connection: TcpStream) {
        let (mut answers, received) = (connection.try_clone().unwrap(), BufReader::new(connection));
        let (mut key, mut own, mut rows) = (None::<String>, (0, 0), Vec::new());
        for line in received.lines().map_while(Result::ok) {
            let mut state = self.state();
            if state.away {
                let _ = answers.shutdown(Shutdown::Both);
                return;
            }
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let response = match word {
                "ASK" => {
                    // A sink that was never opened does not exist.
                    let last_committed = state.sinks.get_mut(rest).map(|sink| {
                        sink.requests.push(SinkRequest::Held);
                        sink.last_committed()
                    });
                    Some(format!("HELD {}\n", last_committed.unwrap_or_default()))
                }
                "OPEN" => {
                    let (of, number) = rest.split_once(' ').unwrap();
                    let generation = number.parse().unwrap();
                    key = Some(of.to_owned());
                    let sink = state.sinks.entry(of.to_owned()).or_default();
                    Some(match sink.generation > generation {
                        true => "LOST\n".to_owned(),
                        false => {
                            sink.generation = generation;
                            sink.serial += 1;
                            own = (generation, sink.serial);
                            sink.opened.push(generation);
                            sink.requests.push(SinkRequest::Open);
                            format!("HELD {}\n", sink.last_committed())
                        }
                    })
                }
                "LOOSE" => None,
                "BEGIN" => {
                    rows.clear();
                    None
                }
                "ROW" => {
                    match key {
                        Some(_) => rows.push(rest.to_owned()),
                        None => state.loose.push(rest.to_owned()),
                    }
                    None
                }
                "COMMIT" => match state.commit(key.as_deref(), own, rest.parse().unwrap(), &mut rows) {
                    Some(response) => Some(response),
                    None => {
                        state.cut += 1;
                        let _ = answers.shutdown(Shutdown::Both);
                        return;
                    }
                },
                _ => panic!("{line:?}"),
            };
            drop(state);
            if response.is_some_and(|response| answers.write_all(response.as_bytes()).is_err()) {
                return;
            }
        }
    }
}

impl LedgerState {
    /// Returns the response to a commit; `None` closes the connection.
    fn commit(&mut self, key: Option<&str>, own: (u64, u64), batch: u64, rows: &mut Vec<String>) -> Option<String> {
        let Some(key) = key else {
            let unresponsive = self.unresponsive > 0;
            self.unresponsive = self.unresponsive.saturating_sub(1);
            return (!unresponsive).then(|| "DONE\n".to_owned());
        };
        let sink = self.sinks.get_mut(key).unwrap();
        if sink.generation > own.0 {
            return Some("LOST\n".to_owned());
        }
        if sink.serial > own.1 {
            // The same start has opened the sink on another connection, maybe by a request that was long on its way: it has to ask again.
            return None;
        }
        let dice = self.random.as_mut().map_or(9, |random| random.from(0, 10));
        if dice == 0 {
            return None;
        }
        sink.batches.push((batch, std::mem::take(rows)));
        (dice > 1).then(|| "DONE\n".to_owned())
    }
}
