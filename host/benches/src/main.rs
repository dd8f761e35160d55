//! `make bench`: speed and memory as ratios to a native single-thread Rust loop that does the same work in the same run. Every figure is a median;
//! the measured command is printed. Arguments: names of parts to run (`boundary`, `limits`, `neighbour`, `languages`, `words`, `update`, `windows`,
//! `sql`, `join`, `nexmark`, `flood`, `kafka`, `machines`, `slow`, `spill`, `objects`, `latency`, `page`, `start`, `upgrade`, and the parts about
//! checkpoints, `checkpoint-words`, `checkpoint-latency` and `checkpoint-state`, or all three as `checkpoint`, and those about one server each, such
//! as `servers-redis`, or all of them as `servers`); all by default.

mod boundary;
mod checkpoint;
mod comparison;
mod flood;
mod join;
mod kafka;
mod languages;
mod latency;
mod limits;
mod machines;
mod measure;
mod native;
mod neighbour;
mod nexmark;
mod objects;
mod page;
mod rates;
mod rows;
mod servers;
mod slow;
mod spill;
mod sql;
mod start;
mod update;
mod upgrade;
mod windows;
mod words;

fn main() {
    // As the program itself does; the native loops profit, too.
    millstream::memory::keep_freed();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if servers::own_part(&arguments) || kafka::own_part(&arguments) || neighbour::own_part(&arguments) {
        return;
    }
    let requested: Vec<String> = arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut parts: Vec<(&str, fn())> = vec![
        ("boundary", boundary::run),
        ("limits", limits::run),
        ("neighbour", neighbour::run),
        ("languages", languages::run),
        ("words", words::run),
        ("update", update::run),
        ("windows", windows::run),
        ("spill", spill::run),
        ("sql", sql::run),
        ("join", join::run),
        ("nexmark", nexmark::run),
        ("flood", flood::run),
        ("kafka", kafka::run),
        ("machines", machines::run),
        ("slow", slow::run),
        ("objects", objects::run),
        ("latency", latency::run),
        ("page", page::run),
        ("start", start::run),
        ("upgrade", upgrade::run),
        ("checkpoint-words", checkpoint::words::run),
        ("checkpoint-latency", checkpoint::latency::run),
        ("checkpoint-state", checkpoint::state::run),
    ];
    parts.extend(servers::PARTS);
    for (name, run) in parts {
        if requested.is_empty()
            || requested
                .iter()
                .any(|w| w == name || name.strip_prefix(w.as_str()).is_some_and(|rest| rest.starts_with('-')))
        {
            println!("\n== {name}");
            let took = measure::seconds(run);
            println!("  ({took:.0} s)");
        }
    }
}
