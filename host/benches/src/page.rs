//! The cost of the page for its job: the job of part `latency` without a page, with an unused one, and with one that ten clients view, in turn. There
//! is no supervisor, so the page is served by the job's own process.

use crate::latency::{Page, VIEWERS, measured};
use crate::measure::{RUNS, figure, median, quantile};

/// Runs this part.
pub fn run() {
    let pages = [Page::None, Page::Served(0), Page::Served(VIEWERS)];
    let mut runs = pages.map(|_| Vec::new());
    for round in 0..=RUNS {
        for (variant, page) in pages.into_iter().enumerate() {
            let mut run = measured(page, round == 0 && variant == 0);
            let (p50, p99) = (quantile(&mut run.latencies, 0.5), quantile(&mut run.latencies, 0.99));
            if round > 0 {
                runs[variant].push([
                    p50,
                    p99,
                    run.cpu * 100.0,
                    run.page_cpu * 100.0,
                    run.resident / f64::from(1 << 20),
                ]);
            }
        }
    }
    let variants = ["without a page", "with a page that nobody looks at", "while ten look"];
    for (name, runs) in variants.iter().zip(&runs) {
        let column = |at: usize| median(runs.iter().map(|run| run[at]).collect());
        figure(&format!("{name}: latency, median, ms"), format!("{:.2}", column(0)), "");
        figure("  99th percentile, ms", format!("{:.2}", column(1)), "");
        figure("  processor time, % of a core", format!("{:.1}", column(2)), "");
        figure("  that of the threads of the page", format!("{:.2}", column(3)), "target: at most 1");
        figure("  resident, MiB", format!("{:.1}", column(4)), "");
    }
    // Each is compared with the run without a page of the same round: the load of the machine changes slowly.
    let [without, with_page @ ..] = &runs;
    for (name, runs) in variants[1..].iter().zip(with_page) {
        let compare = |of: fn(f64, f64) -> f64, at: usize| {
            median(runs.iter().zip(without).map(|(run, without)| of(run[at], without[at])).collect())
        };
        let times = |at| compare(|with, without| with / without, at);
        figure(&format!("median latency {name}, times that without"), format!("{:.2}", times(0)), "target: about 1");
        figure("  99th percentile, times that without", format!("{:.2}", times(1)), "target: about 1");
        figure(
            "  resident more, MiB",
            format!("{:.1}", compare(|with, without| with - without, 4)),
            "target: at most 20",
        );
    }
}
