//! State larger than memory: totals of many keys in memory and with a budget, and the time of a restart.

use crate::measure::{children_cpu, dir_on_disk, figure, in_turn_rounds, job, millstream, peak_memory, seconds, show};
use std::path::Path;

/// Default number of keys, see `SPILL_KEYS`. The budget is 21 bytes per key, a third to a quarter of what they take.
const KEYS: u64 = 20_000_000;
const BUDGET_BYTES_PER_KEY: u64 = 21;
const ROUNDS: usize = 3;

/// Runs this part.
pub fn run() {
    let keys = std::env::var("SPILL_KEYS").ok().and_then(|keys| keys.parse().ok()).unwrap_or(KEYS);
    let budget = format!("{}MiB", (keys * BUDGET_BYTES_PER_KEY) >> 20);
    let dir = dir_on_disk();
    let made = |name: &str, text: &str| {
        let inner = dir.path().join(name);
        std::fs::create_dir_all(&inner).expect("a directory");
        job(&inner, text)
    };
    let state = |bytes: &str| format!("state = {{ memory = \"{bytes}\", folder = \".\" }}\n");
    let text = |state: &str, rows: u64| job_text(state, keys, rows);
    println!("  each of {keys} keys once, then half as many rows whose keys are Zipf's (exponent 0.99)");
    show(&text(&state(&budget), keys + keys / 2));
    let all = [
        made("memory", &text("", keys + keys / 2)),
        made("fits", &text(&state("64GiB"), keys + keys / 2)),
        made("budget", &text(&state(&budget), keys + keys / 2)),
    ];
    let mut cpu = [0.0; 3];
    let mut timed: Vec<_> = all.iter().zip(&mut cpu).map(|(job, cpu)| move || timed(job, cpu)).collect();
    let mut turns: Vec<&mut dyn FnMut() -> f64> = timed.iter_mut().map(|one| one as _).collect();
    let [memory_s, fits_s, budget_s] = in_turn_rounds(ROUNDS, &mut turns)[..] else { return };
    let peak = |job: &Path| format!("{:.0}", peak_memory(started(job)) / 1e6);
    figure("in memory, s", format!("{memory_s:.1}"), "");
    figure("with a budget in which all fits, times that", format!("{:.2}", fits_s / memory_s), "target: at most 1.05");
    figure(&format!("with {budget}, times that"), format!("{:.2}", budget_s / memory_s), "target: at most 2.5");
    figure("CPU of the last, times that in memory", format!("{:.2}", cpu[2] / cpu[0]), "");
    figure("resident in memory, MB", peak(&all[0]), "");
    figure(&format!("resident with {budget}, MB"), peak(&all[2]), "target: at most 1.1 of the budget");

    let checkpoint = "checkpoint = { dir = \"kept\", every = \"1h\" }\n";
    let kept = made("kept", &text(&format!("{checkpoint}{}", state(&budget)), keys));
    wait(&kept);
    let mut start = || seconds(|| wait(&kept));
    let start_s = in_turn_rounds(ROUNDS, &mut [&mut start])[0];
    figure(&format!("a start from a checkpoint with {budget}, and its end, s"), format!("{start_s:.1}"), "");
}

/// Returns the seconds that a job takes; adds its processor time to `cpu`.
fn timed(job: &Path, cpu: &mut f64) -> f64 {
    let before = children_cpu();
    let took = seconds(|| wait(job));
    *cpu = children_cpu() - before;
    took
}

fn started(job: &Path) -> std::process::Child {
    millstream(&["run", &job.to_string_lossy()]).spawn().expect("the job starts")
}

fn wait(job: &Path) {
    assert!(started(job).wait().expect("the job ends").success(), "{} fails", job.display());
}

fn job_text(head: &str, keys: u64, rows: u64) -> String {
    // The inverse of the distribution function, applied to sufficiently uniform numbers.
    let even = "cast((value * 48271) % 2147483647 as double) / 2147483647.0";
    let zipf = format!("cast(power((power({keys}.0, 0.01) - 1.0) * ({even}) + 1.0, 100.0) as bigint)");
    let rank = format!("case when value < {keys} then value else {zipf} end");
    format!(
        r#"name = "spill"
batch = "250ms"
{head}[sources.in]
kind = "rate"
rows_per_second = 4000000
rows_max = {rows}
[stages.keyed]
from = "in"
select = "(({rank}) * 982451653) % {keys} as k, value as n"
[stages.totals]
from = "keyed"
key = "k"
window = "all"
aggregate = {{ rows = "count(*)", sum = "sum(n)" }}
[sinks.out]
from = "totals"
kind = "nothing"
"#
    )
}
