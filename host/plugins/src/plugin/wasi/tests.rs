//! What can be seen of WASI without a guest.

use super::waiting::wait;
use super::*;
use crate::plugin::allowance::{Allowance, InputSize};
use crate::plugin::guest::{Guest, StageBudget};
use crate::plugin::identity::Role;
use crate::plugin::stage::Granted;
use arrow::datatypes::Schema;
use std::time::{Duration, Instant};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{exit, stdout};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::random as secure;
use wasmtime_wasi::p2::bindings::sync::io::poll::{Host as _, HostPollable as _};
use wasmtime_wasi::p2::bindings::sync::io::streams::HostOutputStream as _;

fn guest(stage: &str, limits: PluginLimits) -> Guest {
    let identity = CallIdentity {
        stage: Some(stage.to_owned()),
        role: Role::Stage,
        plugin: "it 1.0".to_owned(),
        outside: "describe",
    };
    let about = Stage { inputs: Vec::new(), key: Arc::new(Schema::empty()), grant: Granted::default() };
    let shared = Arc::new(StageBudget::new(Arc::new(identity), limits));
    Guest::new(shared, Arc::new(about), call(None, 0), Allowance::new(limits, InputSize::default()))
}

fn call(batch: Option<u64>, time_us: i64) -> CurrentCall {
    CurrentCall { batch, time_us, began: Instant::now(), times: 1, rows: 0, rows_before: 0 }
}

fn begin(guest: &mut Guest, batch: u64, time_us: i64) {
    let allowance = guest.allowance;
    guest.begin(call(Some(batch), time_us), allowance);
}

fn in_batch(stage: &str, batch: u64) -> Guest {
    let mut guest = guest(stage, PluginLimits::default());
    begin(&mut guest, batch, 1_500_000);
    guest
}

#[test]
fn a_plugin_that_uses_none_of_it_pays_nothing() {
    let mut guest = in_batch("a", 1);
    guest.end();
    assert!(guest.wasi.is_none());
}

#[test]
fn each_call_begins_at_the_same_time_with_the_same_numbers() {
    let look = |guest: &mut Guest| {
        let numbers = secure::Host::get_random_bytes(guest, 13).unwrap();
        (monotonic_clock::Host::now(guest).unwrap(), monotonic_clock::Host::now(guest).unwrap(), numbers)
    };
    let mut first = in_batch("a", 1);
    let (start, later, numbers) = look(&mut first);
    assert!(start == 0 && later > 0 && numbers.len() == 13);
    let wall = wall_clock::Host::now(&mut first).unwrap();
    assert_eq!((wall.seconds, wall.nanoseconds), (1, 500_000_000));
    assert_ne!(look(&mut first), (start, later, numbers.clone()));
    begin(&mut first, 1, 1_500_000);
    assert_eq!(look(&mut first), (start, later, numbers.clone()), "also of an instance that is kept");
    assert_eq!(look(&mut in_batch("a", 1)), (start, later, numbers.clone()));
    assert_ne!(look(&mut in_batch("a", 2)).2, numbers);
    assert_ne!(look(&mut in_batch("b", 1)).2, numbers);
    let mut before_1970 = guest("a", PluginLimits::default());
    begin(&mut before_1970, 1, -5);
    assert_eq!(wall_clock::Host::now(&mut before_1970).unwrap().seconds, 0);
}

fn borrow<T: 'static>(of: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(of.rep())
}

#[test]
fn sleeping_moves_the_clock_and_polling_moves_it_to_the_first_timer() {
    let mut guest = in_batch("a", 1);
    let timer = |guest: &mut Guest, ns| monotonic_clock::Host::subscribe_instant(guest, ns).unwrap();
    let (soon, late, never) = (timer(&mut guest, 5 << 30), timer(&mut guest, 9 << 30), timer(&mut guest, u64::MAX));
    assert!(!guest.ready(borrow(&soon)).unwrap());
    assert_eq!(guest.poll(vec![borrow(&never), borrow(&late), borrow(&soon)]).unwrap(), [2]);
    assert!(guest.ready(borrow(&soon)).unwrap() && !guest.ready(borrow(&late)).unwrap());
    let printed = stdout::Host::get_stdout(&mut guest).unwrap();
    let writable = guest.subscribe(borrow(&printed)).unwrap();
    assert_eq!(guest.poll(vec![borrow(&late), borrow(&writable)]).unwrap(), [1], "nothing is slept for");
    guest.block(borrow(&late)).unwrap();
    assert_eq!(guest.poll(vec![borrow(&soon), borrow(&late), borrow(&writable)]).unwrap(), [0, 1, 2]);
    assert_eq!(monotonic_clock::Host::now(&mut guest).unwrap(), 9 << 30);
    guest.block(borrow(&never)).unwrap();
    assert_eq!(monotonic_clock::Host::now(&mut guest).unwrap(), u64::MAX);
    assert!(guest.poll(Vec::new()).is_err(), "a poll of nothing would never end");
}

#[test]
fn host_calls_and_their_bytes_use_up_what_a_call_may_burn() {
    let limits = PluginLimits { fuel_max: Some(10 * PLUGIN_IMPORT_FUEL + 100), ..PluginLimits::default() };
    let mut guest = guest("a", limits);
    begin(&mut guest, 1, 0);
    for _ in 0..10 {
        monotonic_clock::Host::now(&mut guest).unwrap();
    }
    let error = monotonic_clock::Host::now(&mut guest).unwrap_err();
    assert_eq!(error.downcast_ref::<Stopped>().unwrap().trap, Trap::Fuel);
    begin(&mut guest, 1, 0);
    assert!(secure::Host::get_random_bytes(&mut guest, 5_000).is_err(), "bytes count");
    begin(&mut guest, 1, 0);
    assert!(secure::Host::get_random_bytes(&mut guest, 100).is_ok(), "each call has its own");
    assert!(secure::Host::get_random_bytes(&mut guest, u64::MAX).is_err());
}

#[test]
fn handles_have_a_limit() {
    let mut guest = guest("a", PluginLimits { handles_max: 3, ..PluginLimits::default() });
    begin(&mut guest, 1, 0);
    let handles: Vec<_> = (0..4).map(|_| stdout::Host::get_stdout(&mut guest)).collect();
    assert_eq!(handles.iter().filter(|handle| handle.is_ok()).count(), 3);
}

#[test]
fn printed_lines_reach_the_story_of_a_failure_whole_cut_or_without_an_end() {
    let mut guest = in_batch("a", 1);
    let stream = wasmtime_wasi::p2::bindings::cli::stderr::Host::get_stderr(&mut guest).unwrap();
    let mut write = |text: &[u8]| {
        guest.blocking_write_and_flush(borrow(&stream), text.to_vec()).unwrap();
    };
    write(b"one\r\ntw");
    write(b"o\n\n");
    (0..100).for_each(|_| write(&[b'x'; 4096]));
    write(b"\nnot \xff text\nlast");
    guest.end();
    let lines = &guest.error_lines;
    assert_eq!(lines[..2], ["one", "two"]);
    assert!(lines[2].starts_with("xxx") && lines[2].ends_with('…') && lines[2].len() < 5000);
    assert_eq!(lines[3..], ["not \u{fffd} text", "last"]);
}

#[test]
fn leaving_is_a_failure() {
    let mut guest = in_batch("a", 1);
    let message = exit::Host::exit(&mut guest, Err(())).unwrap_err().to_string();
    assert_eq!(message, "it called exit(1); a plugin must return, even if it fails");
    guest.error_lines = vec!["other words".into(), "exit code 3".into()];
    let message = exit::Host::exit(&mut guest, Err(())).unwrap_err().to_string();
    assert_eq!(message, "it called exit(3); a plugin must return, even if it fails");
    assert_eq!(guest.error_lines, ["other words"]);
}

#[test]
fn a_wait_ends_when_woken_and_when_it_took_too_long() {
    assert_eq!(wait(Duration::ZERO, std::future::ready(1)), Some(1));
    assert_eq!(wait(Duration::from_millis(1), std::future::pending::<()>()), None);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sending = std::thread::spawn(move || sender.send(2));
    assert_eq!(wait(Duration::from_secs(60), receiver), Some(Ok(2)));
    assert!(sending.join().unwrap().is_ok());
}
