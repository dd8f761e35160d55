//! `make bench`: speed and memory as ratios against a native single-thread Rust loop that does the same work in the
//! same run. Every figure is a median; the command behind it is printed. Arguments: names of parts to run
//! (`boundary`, `limits`, `neighbour`, `languages`, `words`, `update`, `windows`, `sql`, `join`, `flood`, `kafka`, `servers`, `latency`, `start`,
//! `upgrade`, and the parts about checkpoints, `checkpoint-words`, `checkpoint-latency` and `checkpoint-state`, or all three
//! as `checkpoint`); all by default.

mod boundary;
mod checkpoint;
mod flood;
mod join;
mod kafka;
mod languages;
mod latency;
mod limits;
mod measure;
mod native;
mod neighbour;
mod servers;
mod sql;
mod start;
mod update;
mod upgrade;
mod windows;
mod words;

fn main() {
    // As the program itself does; the native loops profit, too.
    millstream::memory::keep_freed();
    if servers::own_part(&std::env::args().skip(1).collect::<Vec<_>>()) {
        return;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let parts: [(&str, fn()); 18] = [
        ("boundary", boundary::run),
        ("limits", limits::run),
        ("neighbour", neighbour::run),
        ("languages", languages::run),
        ("words", words::run),
        ("update", update::run),
        ("windows", windows::run),
        ("sql", sql::run),
        ("join", join::run),
        ("flood", flood::run),
        ("kafka", kafka::run),
        ("servers", servers::run),
        ("latency", latency::run),
        ("start", start::run),
        ("upgrade", upgrade::run),
        ("checkpoint-words", checkpoint::words::run),
        ("checkpoint-latency", checkpoint::latency::run),
        ("checkpoint-state", checkpoint::state::run),
    ];
    for (name, run) in parts {
        if wanted.is_empty()
            || wanted
                .iter()
                .any(|w| w == name || name.strip_prefix(w.as_str()).is_some_and(|rest| rest.starts_with('-')))
        {
            println!("\n== {name}");
            let took = measure::seconds(run);
            println!("  ({took:.0} s)");
        }
    }
}
