//! A ZeroMQ PUSH socket with all rows to send. The plain program uses the job's own client.

use super::output_of;
use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::{job, root};
use crate::rows::{self, Row};
use millstream::internals::zeromq::{Incoming, Peer, SocketSettings};
use millstream_tests::{Process, free_port};
use std::path::Path;
use std::process::Command;
use tokio::net::TcpStream;

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(2_000_000);
    let port = free_port();
    let file = rows::file(dir, rows);
    let script = root().join("scripts/zeromq.sh");
    output_of("zeromq.sh", &[]);
    let sender = || {
        let mut command = Command::new(&script);
        command.arg(root().join("host/benches/src/servers/push.py")).arg(port.to_string()).arg(&file);
        let mut sender = Process::start(&mut command);
        sender.wait_until("all rows wait to be sent", |sender| sender.stdout().contains("ready"));
        sender
    };
    let url = format!("tcp://127.0.0.1:{port}");
    let text = rows::reading("zeromq", &format!("url = \"{url}\"\nsocket = \"pull\""));
    let path = job(dir, &text);
    let baseline = "a program with Millstream's client";
    Comparison { connector: ("`zeromq`", "source"), rows, baseline, job: &text }.run(
        |_| {
            let _sender = sender();
            run_own("zeromq-read", &[&port.to_string(), &rows.to_string()])
        },
        |_| {
            let _sender = sender();
            run_job(&path, rows)
        },
    );
}

/// Reads all rows.
pub fn read(port: &str, rows: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("a connection");
        let wants =
            SocketSettings { pull: true, topics: Vec::new(), login: None, bytes_max: 1 << 20, kept_max: 1 << 20 };
        let mut peer = Peer::handshake(stream, &wants).await.expect("a greeting");
        let (mut count, mut sum) = (0, 0.0);
        while count < rows {
            for incoming in peer.next().await.expect("messages") {
                let Incoming::Message { value, .. } = incoming else { continue };
                sum += Row::parse(&value).sum();
                count += 1;
            }
        }
        assert!(sum > 0.0);
    });
}
