//! What was measured, as lines of a table, a chart, and a judgement.

use super::job::{Held, JobCopy};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// One copy at one moment.
struct Sample {
    time: Duration,
    /// In the order of [`MEASURES`].
    values: [f64; MEASURES.len()],
}

/// What is measured, and how much more the last quarter of the time may have than the first one after the warm-up. Latency
/// depends on the machine's other load.
const MEASURES: [(&str, Option<f64>); 6] = [
    ("memory, MiB", Some(1.15)),
    ("open files", Some(1.05)),
    ("latency, median, ms", None),
    ("latency, 99th percentile, ms", None),
    ("checkpoint, KiB", Some(1.25)),
    ("checkpoint, files", Some(1.25)),
];
const COLORS: [&str; 2] = ["#1f77b4", "#d62728"];
const WIDTH: f64 = 900.0;
const PANEL: f64 = 130.0;

/// All samples of all copies.
pub struct Samples {
    out: Option<PathBuf>,
    copies: Vec<(&'static str, Vec<Sample>)>,
}

impl Samples {
    /// Samples that are also written into this directory, as a table and as a chart.
    pub fn new(out: Option<PathBuf>) -> Samples {
        if let Some(out) = &out {
            std::fs::create_dir_all(out).expect("a folder for what is measured");
        }
        Samples { out, copies: Vec::new() }
    }

    pub fn add(&mut self, time: Duration, jobs: &mut [JobCopy]) {
        for (number, job) in jobs.iter_mut().enumerate() {
            let (latencies, held) = (job.latencies(), job.held());
            if self.copies.len() <= number {
                self.copies.push((job.name, Vec::new()));
            }
            let (Some((median, maximum)), Some(held)) = (latencies, held) else { continue };
            let Held { memory_bytes, open_files, checkpoint_bytes, checkpoint_files } = held;
            let values = [
                memory_bytes as f64 / f64::from(1 << 20),
                open_files as f64,
                median as f64,
                maximum as f64,
                checkpoint_bytes as f64 / 1024.0,
                checkpoint_files as f64,
            ];
            self.copies[number].1.push(Sample { time, values });
        }
        if let Some(out) = &self.out {
            std::fs::write(out.join("samples.csv"), self.table()).expect("what is measured");
            std::fs::write(out.join("soak.svg"), self.chart()).expect("a chart");
        }
    }

    fn table(&self) -> String {
        let mut text = String::from("seconds,copy");
        MEASURES.iter().for_each(|(name, _)| text.push_str(&format!(",\"{name}\"")));
        text.push('\n');
        for (copy, samples) in &self.copies {
            for sample in samples {
                let _ = write!(text, "{:.0},{copy}", sample.time.as_secs_f64());
                sample.values.iter().for_each(|value| text.push_str(&format!(",{value:.1}")));
                text.push('\n');
            }
        }
        text
    }

    /// The medians of the first and of the last quarter of the time.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for (copy, samples) in &self.copies {
            for (number, (name, _)) in MEASURES.iter().enumerate() {
                let Some([first, last]) = quarters(samples, number, Duration::ZERO) else { continue };
                let _ = writeln!(text, "  {copy:<8} {name:<30} first quarter {first:>9.1}, last {last:>9.1}");
            }
        }
        text
    }

    /// Fails where something grew after the beginning.
    pub fn judge(&self, after: Duration) {
        for (copy, samples) in &self.copies {
            for (number, (name, more_max)) in MEASURES.iter().enumerate() {
                let (Some(more_max), Some([first, last])) = (more_max, quarters(samples, number, after)) else {
                    continue;
                };
                assert!(last <= first * more_max, "{copy}: {name} grew from {first:.1} to {last:.1}");
            }
        }
    }

    /// A panel a measure, a line a copy, and minutes to the right.
    fn chart(&self) -> String {
        let minutes = |sample: &Sample| sample.time.as_secs_f64() / 60.0;
        let end = self.copies.iter().flat_map(|(_, samples)| samples.last().map(minutes)).fold(1.0, f64::max);
        let height = PANEL * MEASURES.len() as f64 + 20.0;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        for (number, (name, _)) in MEASURES.iter().enumerate() {
            let top = PANEL * number as f64;
            let maximum = self.copies.iter().flat_map(|(_, samples)| samples).map(|sample| sample.values[number]);
            let maximum = maximum.fold(1.0, f64::max);
            let _ = writeln!(text, "<text x=\"4\" y=\"{}\">{name}, at most {maximum:.0}</text>", top + 16.0);
            for ((_, samples), color) in self.copies.iter().zip(COLORS) {
                let _ = write!(text, "<polyline fill=\"none\" stroke=\"{color}\" points=\"");
                for sample in samples {
                    let x = minutes(sample) / end * WIDTH;
                    let y = top + PANEL - 4.0 - sample.values[number] / maximum * (PANEL - 28.0);
                    let _ = write!(text, "{x:.1},{y:.1} ");
                }
                text.push_str("\"/>\n");
            }
        }
        for ((copy, _), (color, x)) in self.copies.iter().zip(COLORS.iter().zip([300.0, 380.0])) {
            let _ = writeln!(text, "<text x=\"{x}\" y=\"{}\" fill=\"{color}\">{copy}</text>", height - 4.0);
        }
        let _ = writeln!(text, "<text x=\"4\" y=\"{}\">0 to {end:.0} minutes</text>\n</svg>", height - 4.0);
        text
    }
}

fn quarters(samples: &[Sample], number: usize, after: Duration) -> Option<[f64; 2]> {
    let values: Vec<f64> =
        samples.iter().filter(|sample| sample.time >= after).map(|sample| sample.values[number]).collect();
    let quarter = values.len().div_ceil(4);
    let median = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some([median(values.get(..quarter)?)?, median(values.get(values.len() - quarter..)?)?])
}
