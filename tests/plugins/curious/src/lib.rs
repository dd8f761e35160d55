//! A plugin that uses WASI as each row says: `env REGION`, `sleep 3600`. The output row has what it finds.

// It calls functions that only a host of components has.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Out, Row, transform};
use std::fmt::Display;
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::random::{insecure, insecure_seed, random};
use wasip2::{cli, filesystem, io};

/// What to do.
#[derive(Row)]
pub struct Wish<'a> {
    value: &'a str,
}

/// What came of it.
#[derive(Row)]
pub struct Found<'a> {
    value: &'a str,
}

const SECOND: u64 = 1_000_000_000;

/// Does what each row says.
#[transform]
pub fn curious(wish: Wish, out: &mut Out<Found>) {
    out.push(Found { value: &fulfil(wish.value) });
}

fn fulfil(wish: &str) -> String {
    let (word, rest) = wish.split_once(' ').unwrap_or((wish, ""));
    let number = || rest.parse::<u64>().unwrap_or_default();
    match word {
        "env" => variable(rest),
        "arguments" => cli::environment::get_arguments().len().to_string(),
        "folder" => format!("{:?}", cli::environment::initial_cwd()),
        "folders" => filesystem::preopens::get_directories().len().to_string(),
        "terminal" => cli::terminal_stdout::get_terminal_stdout().is_some().to_string(),
        "now" => {
            let now = wall_clock::now();
            format!("{}.{:09}", now.seconds, now.nanoseconds)
        }
        "ticks" => format!("{} {}", monotonic_clock::now(), monotonic_clock::now()),
        "random" => format!(
            "{:?} {} {:?}",
            random::get_random_bytes(8),
            insecure::get_insecure_random_u64(),
            insecure_seed::insecure_seed()
        ),
        "random-bytes" => random::get_random_bytes(number()).len().to_string(),
        "sleep" => slept(|| monotonic_clock::subscribe_duration(number() * SECOND).block()),
        "wait" => slept(|| {
            let end = monotonic_clock::now() + number() * SECOND;
            while monotonic_clock::now() < end {}
        }),
        "look" => {
            let timer = monotonic_clock::subscribe_duration(number() * SECOND);
            slept(|| while !timer.ready() {})
        }
        "poll" => {
            let late = monotonic_clock::subscribe_duration(2 * number() * SECOND);
            let soon = monotonic_clock::subscribe_duration(number() * SECOND);
            slept(|| drop(io::poll::poll(&[&late, &soon]))) + &format!(" {:?}", io::poll::poll(&[&late, &soon]))
        }
        "poll-for-ever" => {
            let input = cli::stdin::get_stdin();
            let ready = input.subscribe();
            loop {
                io::poll::poll(&[&ready]);
            }
        }
        "read" => told(cli::stdin::get_stdin().blocking_read(100).map(|bytes| bytes.len())),
        "print" => told(cli::stdout::get_stdout().blocking_write_and_flush(rest.replace('|', "\n").as_bytes())),
        "complain" => told(cli::stderr::get_stderr().blocking_write_and_flush(rest.replace('|', "\n").as_bytes())),
        "flood" => {
            let out = cli::stdout::get_stdout();
            (0..number()).for_each(|line| drop(out.blocking_write_and_flush(format!("line {line}\n").as_bytes())));
            "flooded".into()
        }
        "zeroes" => told(cli::stdout::get_stdout().write_zeroes(number())),
        "exit" => {
            cli::exit::exit(Ok(()));
            "I am still here".into()
        }
        "hoard" => loop {
            std::mem::forget(cli::stdin::get_stdin());
        },
        _ => format!("I do not know how to {word}"),
    }
}

fn variable(name: &str) -> String {
    let all = cli::environment::get_environment();
    let found = all.into_iter().find(|(variable, _)| variable == name);
    found.map_or("unset".into(), |(_, value)| value)
}

/// Returns the seconds that pass meanwhile, on the monotonic clock.
fn slept(work: impl FnOnce()) -> String {
    let start = monotonic_clock::now();
    work();
    ((monotonic_clock::now() - start) / SECOND).to_string()
}

fn told<T: std::fmt::Debug, E: Display>(result: Result<T, E>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error: {error}"),
    }
}
