//! Code shared by the tests: the program under test, processes that never outlive their test, and waiting with a deadline.
//!
//! Tests wait for a condition, never for a time. [`until`] and similar functions check every few milliseconds; at their deadline
//! they fail with all output of the processes.

mod alone;
mod browser;
mod certificates;
mod clock;
mod document;
mod expected;
pub mod fault;
mod feeder;
mod flight;
mod hdfs;
mod http;
mod java;
pub mod kafka;
mod kinesis;
pub mod ledger;
mod line_server;
mod lying;
mod measured;
mod mosquitto;
pub mod package;
pub mod page;
pub mod nats;
pub mod nats_key;
pub mod network;
mod parts;
mod ports;
mod postgres;
mod process;
mod python;
mod rabbitmq;
pub mod redis;
mod registry;
mod relay;
mod s3;
mod screen;
mod streaming;
mod torture;
mod trial;
mod varied;
mod weed;
mod wheel;
mod zeromq;

pub use alone::{alone, is_alone};
pub use browser::Browser;
pub use certificates::Certificates;
pub use clock::clock_library;
pub use document::{Block, block, block_of, blocks, pages, shown_block};
pub use expected::Expected;
pub use feeder::Feeder;
pub use flight::Flight;
pub use hdfs::Hdfs;
pub use http::{HttpClient, HttpRequest, HttpServer, Reply};
pub use java::{jars, java};
pub use kafka::{Broker, Cluster};
pub use kinesis::{Kinesis, StreamFollower, aggregated};
pub use line_server::LineServer;
pub use lying::{LyingRegistry, LyingRequest, LyingResponse, Then};
pub use measured::{Measured, held_bytes, measure, measured, resident_bytes, threads};
pub use mosquitto::Mosquitto;
pub use nats::Nats;
pub use nats_key::{NatsKey, NatsKeyOf};
pub use parts::{one_stage, passing, queue_sink, queue_source};
pub use ports::free_port;
pub use postgres::Postgres;
pub use process::{Ended, Process, is_alive, kill, run_at_quarter_speed, signal, stopped};
pub use python::{packages_of_python, python_with};
pub use rabbitmq::Rabbitmq;
pub use redis::Redis;
pub use registry::{RegistryOptions, RegistryServer};
pub use relay::Relay;
pub use s3::{FailingProxy, S3Server};
pub use screen::Screen;
pub use streaming::{Exchange, StreamServer};
pub use torture::{
    FORGETFUL, Killer, POINTS, Point, Random, SCALE_POINTS, TRANSACTION_POINTS, Tally, UPGRADE_POINTS, Victim,
};
pub use trial::Trial;
pub use varied::{varied, varied_line, write_varied};
pub use weed::WeedServer;
pub use wheel::python_with_wheel;
pub use zeromq::Zeromq;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No single wait of a test may take longer, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The program, in the variant that this build of the tests needs.
const PROGRAM: &str = if cfg!(feature = "planted-bugs") { "millstream-with-bugs" } else { "millstream" };

/// The program under test: `$MILLSTREAM_BIN`, or the one next to this test's build.
pub fn millstream() -> PathBuf {
    if let Some(path) = std::env::var_os("MILLSTREAM_BIN") {
        return path.into();
    }
    // Tests lie in `<target>/release/deps`, the program in `<target>/release`.
    let test = std::env::current_exe().expect("a test knows its path");
    let built = test.parent().and_then(Path::parent).expect("a test lies in a build folder").join(PROGRAM);
    assert!(built.is_file(), "there is no {}; `make build` makes it", built.display());
    built
}

/// The project's root directory.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests lie in the project").to_owned()
}

/// A plugin directory of the project, whose component must be built.
pub fn plugin(name: &str) -> PathBuf {
    let own = root().join("tests/plugins").join(name);
    let dir = if own.is_dir() { own } else { root().join("plugins").join(name) };
    let component = dir.join(format!("{name}.wasm"));
    assert!(component.is_file(), "there is no {}; `make build` makes it", component.display());
    dir
}

/// The addresses of a job's two processes, in the format of `--hosts`.
pub fn two_hosts() -> String {
    hosts(2)
}

/// Returns `--hosts` for this number of processes on this machine, on free ports.
pub fn hosts(processes: usize) -> String {
    (0..processes).map(|_| format!("127.0.0.1:{}", free_port())).collect::<Vec<_>>().join(",")
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(DEADLINE, condition), "waited {DEADLINE:?} in vain until {what}");
}

/// Whether `condition` becomes true within this time.
pub fn holds_within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
