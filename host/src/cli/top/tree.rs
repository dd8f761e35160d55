//! The graph of a job as a tree of lines: each part is below one that it reads, like files in directories. Pure.

use crate::page::part::inputs;
use millstream_runtime::control::GraphPart;

/// Maximum characters of the tree lines before a name. For deeper parts the end is shown.
const LINES_CHARS_MAX: usize = 12;

/// A part in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// The index of the part in the graph.
    pub index: usize,
    /// The tree lines before the name.
    pub lines: String,
    /// The indices of its other inputs, in addition to the one above it.
    pub others: Vec<usize>,
}

/// Returns all visible parts. Implicit parts are visible only if something reads them.
pub fn branches(parts: &[GraphPart]) -> Vec<Branch> {
    let inputs = inputs(parts);
    let depths = depths(&inputs);
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); parts.len()];
    let mut roots = Vec::new();
    let mut above = vec![None; parts.len()];
    for (index, from) in inputs.iter().enumerate() {
        // Below its deepest input, so that all other inputs are above it as well.
        above[index] = from.iter().copied().max_by_key(|from| depths[*from]);
        match above[index] {
            Some(parent) => readers[parent].push(index),
            None => roots.push(index),
        }
    }
    let read: Vec<bool> = (0..parts.len()).map(|index| inputs.iter().any(|from| from.contains(&index))).collect();
    roots.retain(|index| !parts[*index].hidden || read[*index]);
    let mut branches = Vec::new();
    // A stack: the last one is taken first.
    let mut left: Vec<(usize, String, &str)> = roots.iter().rev().map(|root| (*root, String::new(), "")).collect();
    while let Some((index, before, sign)) = left.pop() {
        let below = match sign {
            "" => before.clone(),
            "├ " => format!("{before}│ "),
            _ => format!("{before}  "),
        };
        let others = inputs[index].iter().copied().filter(|from| above[index] != Some(*from)).collect();
        branches.push(Branch { index, lines: cut(&format!("{before}{sign}")), others });
        for (at, reader) in readers[index].iter().enumerate().rev() {
            let sign = if at + 1 == readers[index].len() { "└ " } else { "├ " };
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

/// Returns for each part the length of the longest path to it. External data may contain a cycle, which ends here.
fn depths(inputs: &[Vec<usize>]) -> Vec<usize> {
    let mut depths = vec![0; inputs.len()];
    let mut missing: Vec<usize> = inputs.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); inputs.len()];
    inputs.iter().enumerate().for_each(|(index, from)| from.iter().for_each(|from| readers[*from].push(index)));
    let mut ready: Vec<usize> = (0..inputs.len()).filter(|index| missing[*index] == 0).collect();
    while let Some(index) = ready.pop() {
        for reader in &readers[index] {
            depths[*reader] = depths[*reader].max(depths[index] + 1);
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
            let others: Vec<&str> = branch.others.iter().map(|index| parts[*index].name.as_str()).collect();
            format!("{}{} {}", branch.lines, parts[branch.index].name, others.join(",")).trim_end().to_owned()
        };
        branches(parts).iter().map(line).collect::<Vec<_>>().join("\n")
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
        assert_eq!(branches(&parts(&chain)), []);
        chain[0].2 = &[];
        let drawn = branches(&parts(&chain));
        assert_eq!(drawn.len(), 50);
        assert_eq!(drawn[49].lines, "…         └ ");
    }
}
