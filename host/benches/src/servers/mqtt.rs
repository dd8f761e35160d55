//! Messages of MQTT with QoS 1, beside mosquitto's own programs.

use super::{SCHEMA, compare, file_of, from_file, job, rows_of, run_job, run_plain};
use crate::measure::millstream;
use millstream_tests::Mosquitto;
use std::path::Path;

/// Runs this part.
pub fn run(folder: &Path, rows: usize) {
    // A client gets as much as it takes, and the server keeps all for one that is away.
    let server = Mosquitto::with("allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n");
    let url = server.url();
    let lines: Vec<String> = rows_of(rows).collect();
    let text = format!(
        "name = \"reader\"\nbatch = \"100ms\"\n[sources.rows]\nkind = \"mqtt\"\nurl = \"{url}\"\ntopic = \"job\"\nclient_id = \"job\"\n\
         format = \"json\"\n{SCHEMA}\n[sinks.none]\nfrom = \"rows\"\nkind = \"nothing\"\n"
    );
    let path = job(folder, &text);
    // Both are known to the server before there is anything to read.
    let session = ["-i", "plain", "-c", "-x", "3600", "-t", "plain"];
    run_plain(server.program("mosquitto_sub").args(session).arg("-E"), None);
    let ran = millstream(&["run", &path.to_string_lossy(), "--timeout", "2s"]).status();
    assert!(ran.is_ok_and(|ran| ran.success()), "the job failed");
    let count = rows.to_string();
    compare(
        "read from MQTT",
        rows,
        ("millstream run job.toml --workers 1 --limit N", &text),
        |_| {
            server.publish("plain", &lines, &[]);
            run_plain(server.program("mosquitto_sub").args(session).args(["-C", &count]), None)
        },
        |_| {
            server.publish("job", &lines, &[]);
            run_job(&path, rows)
        },
    );
    let file = file_of(folder, rows);
    let text = from_file(&format!("kind = \"mqtt\"\nurl = \"{url}\"\ntopic = \"out\"\n"));
    let path = job(folder, &text);
    compare(
        "write to MQTT",
        rows,
        ("millstream run job.toml --workers 1 --limit N", &text),
        |_| run_plain(server.program("mosquitto_pub").args(["-t", "out", "-l"]), Some(&file)),
        |_| run_job(&path, rows),
    );
}
