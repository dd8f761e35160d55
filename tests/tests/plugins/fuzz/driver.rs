//! The loop around a target. It runs in its own process, which is watched, so the number of the input that made it exit or hang
//! is known.

use millstream_tests::{Process, Random, alone, held_bytes, is_alone};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Names the file in which the process stores the number of its current input.
const PROGRESS: &str = "FUZZ_PROGRESS";
/// The maximum time of one input; the machine may be busy.
const INPUT_MAX: Duration = Duration::from_secs(180);
/// After this many inputs a process has reached its normal memory: they include one of the most expensive components to compile.
const WARM: u64 = 600;
/// The maximum growth from then on.
const GROWTH_BYTES_MAX: u64 = 128 << 20;

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of the test.
    pub test: &'static str,
    /// The number of inputs, unless the environment sets a time.
    pub runs: u64,
    /// Bytes of an input.
    pub input_bytes: usize,
}

/// Runs a target with one input; an error says what is wrong.
pub type Run = Box<dyn FnMut(&[u8]) -> Result<(), String>>;

/// Which inputs are run.
struct Plan {
    seed: u64,
    seconds: Option<u64>,
}

impl Plan {
    fn of_environment() -> Plan {
        let number = |name: &str| {
            let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, and must be a number")))
        };
        let seconds = number("FUZZ_SECONDS");
        Plan { seed: number("SEED").unwrap_or(1), seconds }
    }
}

/// Runs the target, as the test `target.test`.
pub fn drive(target: Target, make: fn() -> Run) {
    let plan = Plan::of_environment();
    if is_alone() {
        work(target, &plan, make());
    } else {
        watch(target, &plan);
    }
}

/// The input with this number: it depends only on the seed.
fn input(target: Target, seed: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
    std::iter::repeat_with(|| random.number().to_le_bytes()).flatten().take(target.input_bytes).collect()
}

fn work(target: Target, plan: &Plan, mut run: Run) {
    if let Some(path) = std::env::var_os("FUZZ_INPUT") {
        return run(&std::fs::read(path).expect("FUZZ_INPUT is a file")).unwrap_or_else(|strings| panic!("{strings}"));
    }
    let progress = File::options().write(true).open(std::env::var_os(PROGRESS).expect("it is set")).unwrap();
    let (begun, mut number, mut warm, mut maximum) = (Instant::now(), 0, None, 0);
    let goes_on = |number| match plan.seconds {
        Some(seconds) => begun.elapsed() < Duration::from_secs(seconds),
        None => number < target.runs,
    };
    while goes_on(number) {
        progress.write_all_at(&number.to_le_bytes(), 0).unwrap();
        run(&input(target, plan.seed, number)).unwrap_or_else(|strings| panic!("{strings}"));
        number += 1;
        if number == WARM {
            warm = Some(held_bytes());
        }
        if number % 100 == 0 {
            maximum = maximum.max(held_bytes());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let per_second = number as f64 / seconds;
    let mib = |bytes: u64| bytes >> 20;
    let (warm, end) = (warm.unwrap_or_default(), held_bytes());
    let seed = plan.seed;
    eprintln!(
        "fuzz {}: {number} inputs in {seconds:.1} s, {per_second:.0} a second, seed {seed}; memory {} MiB at first, {} at \
         most, {} at last",
        target.test,
        mib(warm),
        mib(maximum),
        mib(end)
    );
    assert!(warm == 0 || end <= warm + GROWTH_BYTES_MAX, "the process grew from {warm} to {end} bytes");
}

fn watch(target: Target, plan: &Plan) {
    let dir = tempfile::tempdir().unwrap();
    let progress = dir.path().join("progress");
    std::fs::write(&progress, u64::MAX.to_le_bytes()).unwrap();
    let mut command = alone(target.test, dir.path());
    let mut process = Process::start(command.env(PROGRESS, &progress));
    let number = || std::fs::read(&progress).unwrap().try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
    let (mut last, mut since, mut hangs) = (number(), Instant::now(), false);
    while !process.has_ended() && !hangs {
        std::thread::sleep(Duration::from_millis(5));
        let now = number();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        hangs = since.elapsed() > INPUT_MAX;
    }
    let output = process.stderr();
    if hangs {
        process.kill();
        panic!("it hangs for {INPUT_MAX:?}. {}\n{output}", repeat(target, plan, last));
    }
    let ended = process.wait();
    let output = ended.stderr;
    let strings: Vec<&str> = output.lines().rev().take(40).collect();
    let strings = strings.into_iter().rev().collect::<Vec<_>>().join("\n");
    assert!(ended.code == Some(0), "it ended with {:?}. {}\n{strings}", ended.code, repeat(target, plan, number()));
    output.lines().filter(|line| line.starts_with("fuzz")).for_each(|line| eprintln!("{line}"));
}

/// Stores the input with this number, and returns how to run it again.
fn repeat(target: Target, plan: &Plan, number: u64) -> String {
    let (test, seed) = (target.test, plan.seed);
    if number == u64::MAX {
        return format!("No input was begun (seed {seed}).");
    }
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{seed}-{number}.input", test.replace("::", "-")));
    std::fs::write(&path, input(target, seed, number)).unwrap();
    let path = path.display();
    format!(
        "Input {number} of seed {seed}, repeat it with:\n  FUZZ_INPUT={path} cargo test --release --workspace --test torture {test}"
    )
}
