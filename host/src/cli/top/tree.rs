//! The graph of a job as lines: each part below one that it reads, as files in folders. Pure.

use crate::page::part::inputs;
use millstream_runtime::control::GraphPart;

/// Letters of the lines in front of a name; of what is deeper, the end is shown.
const LINES_CHARS_MAX: usize = 12;

/// A part in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// Its place in the graph.
    pub place: usize,
    /// What is drawn in front of its name.
    pub lines: String,
    /// The places of what it reads beside the one above it.
    pub others: Vec<usize>,
}

/// All parts that are to be seen: those that nobody wrote only where something reads them.
pub fn of(parts: &[GraphPart]) -> Vec<Branch> {
    let inputs = inputs(parts);
    let depths = depths(&inputs);
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); parts.len()];
    let mut roots = Vec::new();
    let mut above = vec![None; parts.len()];
    for (place, from) in inputs.iter().enumerate() {
        // Below the deepest of those that it reads, so that all others stand above it as well.
        above[place] = from.iter().copied().max_by_key(|from| depths[*from]);
        match above[place] {
            Some(parent) => readers[parent].push(place),
            None => roots.push(place),
        }
    }
    let read: Vec<bool> = (0..parts.len()).map(|place| inputs.iter().any(|from| from.contains(&place))).collect();
    roots.retain(|place| !parts[*place].hidden || read[*place]);
    let mut branches = Vec::new();
    // What comes last is taken first.
    let mut left: Vec<(usize, String, &str)> = roots.iter().rev().map(|root| (*root, String::new(), "")).collect();
    while let Some((place, before, sign)) = left.pop() {
        let below = match sign {
            "" => before.clone(),
            "├ " => format!("{before}│ "),
            _ => format!("{before}  "),
        };
        let others = inputs[place].iter().copied().filter(|from| above[place] != Some(*from)).collect();
        branches.push(Branch { place, lines: cut(&format!("{before}{sign}")), others });
        for (at, reader) in readers[place].iter().enumerate().rev() {
            let sign = if at + 1 == readers[place].len() { "└ " } else { "├ " };
            left.push((*reader, below.clone(), sign));
        }
    }
    branches
}

fn cut(lines: &str) -> String {
    let over = lines.chars().count().saturating_sub(LINES_CHARS_MAX);
    match over {
        0 => lines.to_owned(),
        over => std::iter::once('…').chain(lines.chars().skip(over + 1)).collect(),
    }
}

/// How many parts stand before each on the longest way. What is told may have been made up: a circle has an end here.
fn depths(inputs: &[Vec<usize>]) -> Vec<usize> {
    let mut depths = vec![0; inputs.len()];
    let mut missing: Vec<usize> = inputs.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); inputs.len()];
    inputs.iter().enumerate().for_each(|(place, from)| from.iter().for_each(|from| readers[*from].push(place)));
    let mut ready: Vec<usize> = (0..inputs.len()).filter(|place| missing[*place] == 0).collect();
    while let Some(place) = ready.pop() {
        for reader in &readers[place] {
            depths[*reader] = depths[*reader].max(depths[place] + 1);
            missing[*reader] -= 1;
            if missing[*reader] == 0 {
                ready.push(*reader);
            }
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(all: &[(&str, &str, &[&str])]) -> Vec<GraphPart> {
        let part = |(name, role, from): &(&str, &str, &[&str])| GraphPart {
            name: (*name).into(),
            role: (*role).into(),
            from: from.iter().map(|stream| (*stream).to_owned()).collect(),
            hidden: name.ends_with(".retry"),
            ..GraphPart::default()
        };
        all.iter().map(part).collect()
    }

    fn drawn(parts: &[GraphPart]) -> String {
        let line = |branch: &Branch| {
            let others: Vec<&str> = branch.others.iter().map(|place| parts[*place].name.as_str()).collect();
            format!("{}{} {}", branch.lines, parts[branch.place].name, others.join(",")).trim_end().to_owned()
        };
        of(parts).iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_part_stands_below_the_last_of_those_that_it_reads() {
        let parts = parts(&[
            ("lines", "source", &[]),
            ("words.retry", "source", &[]),
            ("table", "source", &[]),
            ("words", "stage", &["lines"]),
            ("counts", "stage", &["words"]),
            ("joined", "stage", &["counts", "table"]),
            ("screen", "sink", &["counts"]),
            ("words", "sink", &["words.rejected", "joined"]),
        ]);
        let expected = "\
lines
└ words
  └ counts
    ├ joined table
    │ └ words words
    └ screen
table";
        assert_eq!(drawn(&parts), expected);
    }

    #[test]
    fn deep_graphs_stay_narrow_and_circles_end() {
        let names: Vec<String> = (0..50).map(|number| format!("s{number}")).collect();
        let from: Vec<[&str; 1]> = (0..50).map(|number| [names[(number + 49) % 50].as_str()]).collect();
        let mut chain: Vec<(&str, &str, &[&str])> =
            (0..50).map(|number| (names[number].as_str(), "stage", &from[number][..])).collect();
        assert_eq!(of(&parts(&chain)), []);
        chain[0].2 = &[];
        let drawn = of(&parts(&chain));
        assert_eq!(drawn.len(), 50);
        assert_eq!(drawn[49].lines, "…         └ ");
    }
}
