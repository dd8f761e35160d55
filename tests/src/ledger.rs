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
    /// Where it listens.
    pub port: u16,
    told: Arc<Mutex<Told>>,
}

/// What a server heard, and how it behaves.
#[derive(Default)]
pub struct Told {
    sinks: BTreeMap<String, Sink>,
    /// Entries that came without a promise.
    loose: Vec<String>,
    /// Connections that were cut.
    pub cut: usize,
    /// So many commits of those are not answered.
    pub silent: usize,
    /// Whether it answers nobody.
    pub away: bool,
    random: Option<Random>,
}

/// What is kept of a sink.
#[derive(Clone, Debug, Default)]
pub struct Sink {
    generation: u64,
    /// How often it was opened: of connections of the same start only the last one counts.
    serial: u64,
    /// Batches in the order in which they came.
    pub batches: Vec<(u64, Vec<String>)>,
    /// By which starts it was opened.
    pub opened: Vec<u64>,
    /// What was asked of it.
    pub asked: Vec<Asked>,
}

/// What is asked of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Which batch is the last one.
    Held,
    /// The same, and that it is taken over.
    Open,
}

impl Sink {
    /// All entries, in order.
    pub fn rows(&self) -> Vec<String> {
        self.batches.iter().flat_map(|(_, rows)| rows.clone()).collect()
    }

    fn held(&self) -> u64 {
        self.batches.last().map_or(0, |(batch, _)| *batch)
    }
}

impl Ledger {
    /// Listens; with a `seed` it cuts connections.
    pub fn start(port: u16, seed: Option<u64>) -> Ledger {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let told = Told { random: seed.map(Random::new), ..Told::default() };
        let ledger = Ledger { port, told: Arc::new(Mutex::new(told)) };
        let serving = ledger.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(connection.unwrap()));
            }
        });
        ledger
    }

    /// What it heard.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    /// What it keeps, by job and sink.
    pub fn sinks(&self) -> BTreeMap<String, Sink> {
        self.told().sinks.clone()
    }

    /// What it keeps without a promise.
    pub fn loose(&self) -> Vec<String> {
        self.told().loose.clone()
    }

    /// Another start of the job has come, it seems.
    pub fn overtake(&self) {
        self.told().sinks.values_mut().for_each(|sink| sink.generation = 1_000_000);
    }

    /// The last batches are gone, and for now all connections.
    pub fn forget(&self, batches: usize) {
        let mut told = self.told();
        told.away = true;
        told.sinks.values_mut().for_each(|sink| sink.batches.truncate(sink.batches.len() - batches));
    }

    fn serve(&self, connection: TcpStream) {
        let (mut answers, heard) = (connection.try_clone().unwrap(), BufReader::new(connection));
        let (mut key, mut own, mut rows) = (None::<String>, (0, 0), Vec::new());
        for line in heard.lines().map_while(Result::ok) {
            let mut told = self.told();
            if told.away {
                let _ = answers.shutdown(Shutdown::Both);
                return;
            }
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let answer = match word {
                "ASK" => {
                    // A sink that nobody has opened is not there.
                    let held = told.sinks.get_mut(rest).map(|sink| {
                        sink.asked.push(Asked::Held);
                        sink.held()
                    });
                    Some(format!("HELD {}\n", held.unwrap_or_default()))
                }
                "OPEN" => {
                    let (of, number) = rest.split_once(' ').unwrap();
                    let generation = number.parse().unwrap();
                    key = Some(of.to_owned());
                    let sink = told.sinks.entry(of.to_owned()).or_default();
                    Some(match sink.generation > generation {
                        true => "LOST\n".to_owned(),
                        false => {
                            sink.generation = generation;
                            sink.serial += 1;
                            own = (generation, sink.serial);
                            sink.opened.push(generation);
                            sink.asked.push(Asked::Open);
                            format!("HELD {}\n", sink.held())
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
                        None => told.loose.push(rest.to_owned()),
                    }
                    None
                }
                "COMMIT" => match told.commit(key.as_deref(), own, rest.parse().unwrap(), &mut rows) {
                    Some(answer) => Some(answer),
                    None => {
                        told.cut += 1;
                        let _ = answers.shutdown(Shutdown::Both);
                        return;
                    }
                },
                _ => panic!("{line:?}"),
            };
            drop(told);
            if answer.is_some_and(|answer| answers.write_all(answer.as_bytes()).is_err()) {
                return;
            }
        }
    }
}

impl Told {
    /// The answer to a commit; `None`: the connection is cut.
    fn commit(&mut self, key: Option<&str>, own: (u64, u64), batch: u64, rows: &mut Vec<String>) -> Option<String> {
        let Some(key) = key else {
            let silent = self.silent > 0;
            self.silent = self.silent.saturating_sub(1);
            return (!silent).then(|| "DONE\n".to_owned());
        };
        let sink = self.sinks.get_mut(key).unwrap();
        if (sink.generation, sink.serial) > own {
            return Some("LOST\n".to_owned());
        }
        let dice = self.random.as_mut().map_or(9, |random| random.from(0, 10));
        if dice == 0 {
            return None;
        }
        sink.batches.push((batch, std::mem::take(rows)));
        (dice > 1).then(|| "DONE\n".to_owned())
    }
}
