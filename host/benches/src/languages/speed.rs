//! Nanoseconds per row: plugins through the host, compared with the native loop and with the language's own runtime.

use super::own::{OwnProgram, Programs};
use super::plugin::{CalledPlugin, Mode, component};
use super::work::{Data, check};
use super::{ROUNDS, ROWS, Style};
use crate::measure::{in_turn_rounds, root, seconds};
use millstream::internals::author::language::Language;
use millstream::internals::plugin::PluginHost;
use std::hint::black_box;
use std::path::Path;

/// How long each thing is measured at a time, so that clock resolution and scheduling do not matter.
const MEASURED_S: f64 = 0.05;

/// Measures one task in all languages and prints its part of the table.
pub fn run(host: &PluginHost, programs: &Programs, data: &Data) {
    let mut entries = entries(host, programs, data);
    let mut native = repeated(|| _ = black_box(data.native()));
    let mut things: Vec<&mut dyn FnMut() -> f64> = vec![&mut native];
    for entry in &mut entries {
        things.push(&mut entry.plugin);
        things.extend(entry.own.as_mut().map(|own| own as &mut dyn FnMut() -> f64));
    }
    let medians = in_turn_rounds(ROUNDS, &mut things);
    let [native, rest @ ..] = &medians[..] else { return };
    println!("\n  {}", data.work.title());
    let line = |cells: [&str; 6]| {
        let [name, plugin, own, to_own, to_native, target] = cells;
        println!("  {name:<22}{plugin:>12}{own:>14}{to_own:>10}{to_native:>20}   {target}");
    };
    line(["", "plugin", "own runtime", "ratio", "ratio to Rust loop", ""]);
    line(["native Rust loop", &ns(*native), "", "", "", ""]);
    let mut rest = rest.iter();
    for entry in &entries {
        let Some(plugin) = rest.next() else { return };
        let own = if entry.own.is_some() { rest.next().unwrap_or(native) } else { native };
        let ratio = |other: f64| format!("{:.2}", plugin / other);
        line([&entry.name, &ns(*plugin), &ns(*own), &ratio(*own), &ratio(*native), entry.target]);
    }
}

fn ns(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// A plugin and the same function in the language's own runtime, as things to measure.
struct Entry<'a> {
    name: String,
    plugin: Box<dyn FnMut() -> f64 + 'a>,
    /// `None` in Rust, where it is the native loop.
    own: Option<Box<dyn FnMut() -> f64 + 'a>>,
    target: &'static str,
}

fn entries<'a>(host: &PluginHost, programs: &Programs, data: &'a Data) -> Vec<Entry<'a>> {
    let all = Language::ALL.into_iter().flat_map(|language| Style::ALL.map(|style| (language, style)));
    let there = all.filter_map(|(language, style)| Some((language, style, component(data.work, language, style)?)));
    there.map(|(language, style, file)| entry(host, programs, data, language, style, &file)).collect()
}

/// Starts both, checks that they produce the same rows as the native loop, and prints their commands.
fn entry<'a>(
    host: &PluginHost,
    programs: &Programs,
    data: &'a Data,
    language: Language,
    style: Style,
    component: &Path,
) -> Entry<'a> {
    let expected = data.native().check();
    let mut called = CalledPlugin::new(host, component, data, Mode::default());
    let command_line = component.strip_prefix(root()).unwrap_or(component).display();
    assert_eq!(check(&called.call(&data.input)), expected, "{command_line} makes other rows");
    let own = programs.start(language, data, style);
    println!("  {command_line} | {}", own.as_ref().map_or("native Rust loop", |own| &own.command_line));
    let own = own.map(|mut own| {
        assert_eq!(own.check(), expected, "{} makes other rows", own.command_line);
        Box::new(repeated_by_itself(own)) as Box<dyn FnMut() -> f64>
    });
    let name = if style == Style::Columns { format!("{language}, columns") } else { language.to_string() };
    let plugin = Box::new(repeated(move || _ = black_box(called.call(&data.input))));
    Entry { name, plugin, own, target: target(language) }
}

fn target(language: Language) -> &'static str {
    match language {
        Language::Rust | Language::C | Language::Go => "target: at most 2 of its own",
        Language::Python => "target: at most 4 of its own",
        Language::JavaScript => "",
    }
}

/// Returns a function that repeats a call for long enough, and returns its nanoseconds per row.
pub fn repeated(mut call: impl FnMut()) -> impl FnMut() -> f64 {
    let mut calls = 0;
    move || {
        if calls == 0 {
            call();
            calls = call_count(seconds(&mut call));
        }
        let all = seconds(|| (0..calls).for_each(|_| call()));
        all * 1e9 / (calls * ROWS) as f64
    }
}

fn repeated_by_itself(mut own: OwnProgram) -> impl FnMut() -> f64 {
    let mut calls = 0;
    move || {
        if calls == 0 {
            own.ns(1);
            calls = call_count(own.ns(1) * ROWS as f64 / 1e9);
        }
        own.ns(calls)
    }
}

fn call_count(call_s: f64) -> usize {
    (MEASURED_S / call_s).ceil().clamp(1.0, 1e5) as usize
}
