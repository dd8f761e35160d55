//! Parquet files in a bucket of a real S3 server: one worker that encodes, beside two.

use crate::beside::{rows_or, run_plain};
use crate::measure::{figure, folder_on_disk, job, median, millstream, show_command};
use crate::rows::{self, forget};
use millstream_tests::WeedServer;

const ROWS: usize = 4_000_000;
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
    show_command(&format!("millstream run job.toml --workers 1 (and 2), {rows} rows"), &text);
    let mut seconds = [Vec::new(), Vec::new()];
    let mut processor = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for workers in [1, 2] {
            // A folder belongs to one sink of one job, and each run is one.
            let path =
                job(folder.path(), &rows::writing("files", &settings(&format!("s3://bucket/{round}-{workers}"))));
            forget(&path);
            let mut command = millstream(&["run", &path.to_string_lossy(), "--workers", &workers.to_string()]);
            let Some((took, used)) = run_plain(command.envs(server.settings()), None) else { return };
            if round > 0 {
                seconds[workers - 1].push(took);
                processor[workers - 1].push(used);
            }
        }
    }
    let ratio = median(seconds[0].iter().zip(&seconds[1]).map(|(one, two)| one / two).collect());
    for (workers, (took, used)) in seconds.into_iter().zip(processor).enumerate() {
        let rate = rows as f64 / median(took) / 1e3;
        figure(&format!("{} workers, thousands of rows a second", workers + 1), format!("{rate:.0}"), "");
        let each = median(used) / rows as f64 * 1e9;
        figure("  its processor time of a row, ns", format!("{each:.0}"), "");
    }
    figure("two workers beside one", format!("{ratio:.2}"), "target: at least 1.6");
}
