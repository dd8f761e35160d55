//! Other costs of a component of each language: size, compilation, loading, instances, memory.

use super::plugin::{CalledPlugin, Mode, component};
use super::work::{Data, Input, Work};
use super::{ROUNDS, Style, speed};
use crate::measure::{in_turn_rounds, median, millstream, seconds};
use millstream::internals::author::language::Language;
use millstream::internals::plugin::{LoadOptions, PluginHost};
use millstream::job::spec::{InstanceSpec, OnError};
use std::hint::black_box;
use std::path::Path;

/// How often a component is recompiled.
const COMPILED: usize = 3;
/// Calls of one row that are measured at a time.
const SMALL_CALLS: usize = 500;
/// Batches after which memory is measured.
const BATCHES: usize = 100;

/// A line of the table: its title, and the value of each language.
type Line = (&'static str, Vec<String>);

/// Measures the components that split lines, and prints the table.
pub fn run(host: &PluginHost, dir: &Path) {
    let data = Data::new(Work::Split, dir);
    let Input::Rows(lines) = &data.input else { return };
    let one = Data { work: data.work, input: Input::Rows(lines.slice(0, 1)), file: data.file.clone() };
    let there = Language::ALL.into_iter();
    let all: Vec<_> =
        there.filter_map(|language| Some((language, component(data.work, language, Style::Rows)?))).collect();
    println!(
        "\n  components that split lines; the first start is `millstream inspect` without a cache, the next with it"
    );
    let files: Vec<&Path> = all.iter().map(|(_, file)| file.as_path()).collect();
    let mut table: Vec<Line> = vec![("component, KB", cells(&files, |file| bytes(file) / 1e3, 0))];
    table.extend(starts(&files, dir));
    table.push(("load, compiled before, ms", loads(&files)));
    table.extend(small_calls(host, &files, &one));
    table.push(("memory at first, KiB", cells(&files, |file| memory(host, file, &one, 1), 0)));
    table.push(("memory after a batch, KiB", cells(&files, |file| memory(host, file, &data, 1), 0)));
    table.push(("memory after 100 batches, kept, KiB", cells(&files, |file| memory(host, file, &data, BATCHES), 0)));
    table.extend(rows(host, &files, &data));
    print!("  {:<44}", "");
    all.iter().for_each(|(language, _)| print!("{:>12}", language.to_string()));
    println!();
    for (what, cells) in table {
        print!("  {what:<44}");
        cells.iter().for_each(|cell| print!("{cell:>12}"));
        println!();
    }
}

fn cells(files: &[&Path], of: impl Fn(&Path) -> f64, digits: usize) -> Vec<String> {
    files.iter().map(|file| format!("{:.digits$}", of(file))).collect()
}

fn formatted(values: impl IntoIterator<Item = f64>, digits: usize) -> Vec<String> {
    values.into_iter().map(|value| format!("{value:.digits$}")).collect()
}

fn bytes(file: &Path) -> f64 {
    std::fs::metadata(file).map_or(0.0, |found| found.len() as f64)
}

/// From the command to its exit, without a cache and with the one that the first left.
fn starts(files: &[&Path], dir: &Path) -> [Line; 2] {
    let start = |file: &Path, cache: &Path| {
        let mut command = millstream(&["inspect", &file.to_string_lossy()]);
        command.env("XDG_CACHE_HOME", cache.join("cache")).env("XDG_STATE_HOME", cache.join("state"));
        seconds(|| assert!(command.status().is_ok_and(|status| status.success()), "{}", file.display())) * 1e3
    };
    let both = files.iter().map(|file| {
        let runs = (0..COMPILED).map(|_| {
            let cache = tempfile::tempdir_in(dir).expect("a directory");
            (start(file, cache.path()), start(file, cache.path()))
        });
        let (first, next): (Vec<f64>, Vec<f64>) = runs.unzip();
        (median(first), median(next))
    });
    let (first, next): (Vec<f64>, Vec<f64>) = both.unzip();
    [("first start, ms", formatted(first, 0)), ("next start, ms", formatted(next, 0))]
}

/// From the component file to a plugin that can be called, in a process that has loaded others before.
fn loads(files: &[&Path]) -> Vec<String> {
    let options = LoadOptions::default();
    let load = |file: &Path| {
        let host = PluginHost::new().expect("the plugin host");
        host.load(&crate::measure::component("host/benches/identity"), &options).expect("another plugin");
        let took = seconds(|| {
            let plugin = host.load(file, &options).expect("the plugin loads");
            black_box(plugin.digest());
        });
        took * 1e3
    };
    let mut things: Vec<_> = files.iter().map(|file| move || load(file)).collect();
    formatted(in_turn(&mut things), 1)
}

fn in_turn<F: FnMut() -> f64>(things: &mut [F]) -> Vec<f64> {
    let mut things: Vec<&mut dyn FnMut() -> f64> = things.iter_mut().map(|thing| thing as _).collect();
    in_turn_rounds(ROUNDS, &mut things)
}

/// Calls of one row: with a new instance each, and with one that is kept.
fn small_calls(host: &PluginHost, files: &[&Path], one: &Data) -> [Line; 3] {
    let small = |file: &Path, instance| {
        let mut called = CalledPlugin::new(host, file, one, Mode { instance, ..Mode::default() });
        move || {
            let all = seconds(|| (0..SMALL_CALLS).for_each(|_| _ = black_box(called.call(&one.input))));
            all * 1e6 / SMALL_CALLS as f64
        }
    };
    let both = [InstanceSpec::Batch, InstanceSpec::Worker];
    let mut things: Vec<_> = files.iter().flat_map(|file| both.map(|instance| small(file, instance))).collect();
    let times = in_turn(&mut things);
    let (fresh, kept): (Vec<f64>, Vec<f64>) = times.chunks(2).map(|pair| (pair[0], pair[1])).unzip();
    let instance: Vec<f64> = fresh.iter().zip(&kept).map(|(fresh, kept)| fresh - kept).collect();
    [
        ("a call of one row, instance = \"batch\", µs", formatted(fresh, 1)),
        ("a call of one row, instance = \"worker\", µs", formatted(kept, 1)),
        ("what an instance costs, µs", formatted(instance, 1)),
    ]
}

/// Returns the linear memory of an instance after this number of calls, in KiB.
fn memory(host: &PluginHost, file: &Path, data: &Data, calls: usize) -> f64 {
    let mut called = CalledPlugin::new(host, file, data, Mode { instance: InstanceSpec::Worker, ..Mode::default() });
    (0..calls).for_each(|_| _ = black_box(called.call(&data.input)));
    called.costs().memory_bytes_max as f64 / 1024.0
}

/// Calls of a complete batch: with new instances, with kept ones, and with fuel, as is used if failing rows are rejected.
fn rows(host: &PluginHost, files: &[&Path], data: &Data) -> [Line; 3] {
    let modes = [
        Mode::default(),
        Mode { instance: InstanceSpec::Worker, ..Mode::default() },
        Mode { on_error: OnError::Reject, ..Mode::default() },
    ];
    let calls = |file: &Path, mode| {
        let mut called = CalledPlugin::new(host, file, data, mode);
        speed::repeated(move || _ = black_box(called.call(&data.input)))
    };
    let mut things: Vec<_> = files.iter().flat_map(|file| modes.map(|mode| calls(file, mode))).collect();
    let times = in_turn(&mut things);
    let of = |mode: usize| formatted(times.chunks(modes.len()).map(|chunk| chunk[mode]), 0);
    [
        ("ns a line, instance = \"batch\"", of(0)),
        ("ns a line, instance = \"worker\"", of(1)),
        ("ns a line, on_error = \"reject\" (fuel)", of(2)),
    ]
}
