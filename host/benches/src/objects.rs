//! Parquet files in a bucket of a real S3 server: one worker that encodes, beside two.

use crate::beside::{rows_or, run_plain};
use crate::measure::{figure, folder_on_disk, job, median, millstream, show_command};
use crate::rows::{self, forget};
use millstream_tests::WeedServer;
use std::ffi::{OsStr, OsString};
use std::process::Command;

const ROWS: usize = 10_000_000;
const ROUNDS: usize = 5;

/// Runs this part.
pub fn run() {
    let rows = rows_or(ROWS);
    let server = WeedServer::start();
    let folder = folder_on_disk();
    rows::file(folder.path(), rows);
    let settings =
        |bucket: &str| format!("path = \"{bucket}\"\nformat = \"parquet\"\ncompression = \"zstd\"\nparts = \"worker\"");
    let text = rows::writing("files", &settings("s3://bucket/out"));
    show_command(
        &format!("millstream run job.toml --workers 1 (and 2, and 1 behind taskset -c 0), {rows} rows"),
        &text,
    );
    // One worker has a thread that decodes and one that encodes, so that on a machine of two cores it leaves little to a second worker: where
    // one core is all that it has, it is seen what another core and worker are worth.
    let ways = [("one worker", 1, false), ("two workers", 2, false), ("one worker on one core", 1, true)];
    let mut seconds = ways.map(|_| Vec::new());
    let mut processor = ways.map(|_| Vec::new());
    for round in 0..=ROUNDS {
        for (way, (_, workers, one_core)) in ways.iter().enumerate() {
            // A folder belongs to one sink of one job, and each run is one.
            let path = job(folder.path(), &rows::writing("files", &settings(&format!("s3://bucket/{round}-{way}"))));
            forget(&path);
            let mut command = millstream(&["run", &path.to_string_lossy(), "--workers", &workers.to_string()]);
            if *one_core {
                let all = [command.get_program()].into_iter().chain(command.get_args()).map(OsStr::to_owned);
                let all: Vec<OsString> = all.collect();
                command = Command::new("taskset");
                command.args(["-c", "0"]).args(all);
            }
            let Some((took, used)) = run_plain(command.envs(server.settings()), None) else { return };
            if round > 0 {
                seconds[way].push(took);
                processor[way].push(used);
            }
        }
    }
    let ratio = |way: usize| median(seconds[way].iter().zip(&seconds[1]).map(|(one, two)| one / two).collect());
    let ratios = [ratio(0), ratio(2)];
    for ((what, ..), (took, used)) in ways.iter().zip(seconds.into_iter().zip(processor)) {
        let rate = rows as f64 / median(took) / 1e3;
        figure(&format!("{what}, thousands of rows a second"), format!("{rate:.0}"), "");
        let each = median(used) / rows as f64 * 1e9;
        figure("  its processor time of a row, ns", format!("{each:.0}"), "");
    }
    figure("two workers beside one", format!("{:.2}", ratios[0]), "target: at least 1.6");
    figure("two workers beside one on one core", format!("{:.2}", ratios[1]), "");
}
