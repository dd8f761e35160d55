//! Parquet files in a bucket of a real S3 server: one encoding worker, compared with two.

use crate::comparison::{rows_or, run_plain};
use crate::measure::{dir_on_disk, figure, job, median, millstream, show_command};
use crate::rows::{self, delete_state};
use millstream_tests::WeedServer;
use std::ffi::{OsStr, OsString};
use std::process::Command;

const ROWS: usize = 10_000_000;
const ROUNDS: usize = 5;

/// Runs this part.
pub fn run() {
    let rows = rows_or(ROWS);
    let server = WeedServer::start();
    let dir = dir_on_disk();
    rows::file(dir.path(), rows);
    let settings =
        |bucket: &str| format!("path = \"{bucket}\"\nformat = \"parquet\"\ncompression = \"zstd\"\nparts = \"worker\"");
    let text = rows::writing("files", &settings("s3://bucket/out"));
    show_command(
        &format!("millstream run job.toml --workers 1 (and 2, and 1 behind taskset -c 0), {rows} rows"),
        &text,
    );
    // One worker has a decoding and an encoding thread, so on a machine with two cores it leaves little to a second worker. With only one core for
    // it, the benefit of another core and worker is visible.
    let variants = [("one worker", 1, false), ("two workers", 2, false), ("one worker on one core", 1, true)];
    let mut seconds = variants.map(|_| Vec::new());
    let mut processor = variants.map(|_| Vec::new());
    for round in 0..=ROUNDS {
        for (variant, (_, workers, one_core)) in variants.iter().enumerate() {
            // A directory belongs to one sink of one job, and each run is one.
            let path = job(dir.path(), &rows::writing("files", &settings(&format!("s3://bucket/{round}-{variant}"))));
            delete_state(&path);
            let mut command = millstream(&["run", &path.to_string_lossy(), "--workers", &workers.to_string()]);
            if *one_core {
                let all = [command.get_program()].into_iter().chain(command.get_args()).map(OsStr::to_owned);
                let all: Vec<OsString> = all.collect();
                command = Command::new("taskset");
                command.args(["-c", "0"]).args(all);
            }
            let Some((took, used)) = run_plain(command.envs(server.settings()), None) else { return };
            if round > 0 {
                seconds[variant].push(took);
                processor[variant].push(used);
            }
        }
    }
    let ratio = |variant: usize| median(seconds[variant].iter().zip(&seconds[1]).map(|(one, two)| one / two).collect());
    let ratios = [ratio(0), ratio(2)];
    for ((what, ..), (took, used)) in variants.iter().zip(seconds.into_iter().zip(processor)) {
        let rate = rows as f64 / median(took) / 1e3;
        figure(&format!("{what}, thousands of rows a second"), format!("{rate:.0}"), "");
        let each = median(used) / rows as f64 * 1e9;
        figure("  its processor time of a row, ns", format!("{each:.0}"), "");
    }
    figure("two workers beside one", format!("{:.2}", ratios[0]), "target: at least 1.6");
    figure("two workers beside one on one core", format!("{:.2}", ratios[1]), "");
}
