//! Matches of rows that are letters: a step takes the rows of its letter.

use super::matched_row::MatchedRow;
use super::matcher::{DecidedMatches, Matcher};
use super::plan::{Condition, ForbiddenRows, Plan, Skip, Step};
use millstream_base::random::Random;
use millstream_job::spec::PatternNots;
use millstream_job::stage::pattern;
use std::rc::Rc;

/// Returns the bit of a letter.
fn bit(name: &str) -> usize {
    name.bytes().next().map_or(0, |letter| usize::from(letter - b'a'))
}

/// Parses a plan. With `of_match` conditions are evaluated as if they read the rows of a match.
fn plan(text: &str, within_us: Option<i64>, skip: Skip, of_match: bool) -> Plan {
    let read = pattern::steps::parse(text).unwrap();
    let condition = |name: &String| if of_match { Condition::OfMatch(bit(name)) } else { Condition::OfRow(bit(name)) };
    let all = |names: &[String]| names.iter().map(condition).collect::<Vec<_>>();
    let nots = |nots: &PatternNots| ForbiddenRows { next: all(&nots.next), between: all(&nots.between) };
    let step = |step: &millstream_job::spec::PatternStep| Step {
        // `y` and `z` take any row.
        condition: (!"yz".contains(&step.name)).then(|| condition(&step.name)),
        relaxed: step.relaxed,
        nots: nots(&step.nots),
        min: step.least,
        max: step.most,
        reluctant: step.reluctant,
        gaps: step.gaps,
        gap_nots: all(&step.gap_nots),
    };
    Plan::new(read.steps.iter().map(step).collect(), nots(&read.end), within_us, skip)
}

/// Runs a plan over letters, one per microsecond; a capital letter satisfies that letter and the next one. Returns the row numbers of each match, and
/// the maximum number of partial matches.
fn run(plan: &Plan, rows: &str) -> (Vec<String>, usize) {
    let (mut matcher, mut decided, mut max) = (Matcher::default(), DecidedMatches::default(), 0);
    for (index, letter) in (0u64..).zip(rows.bytes()) {
        let time = index as i64;
        let own = match letter {
            b'A'..=b'Z' => 3 << (letter - b'A'),
            _ => 1 << (letter - b'a'),
        };
        matcher.expire(plan, time, false);
        matcher.decide(plan, &mut decided);
        matcher.begin(plan, index, time, own);
        let mut requested = std::collections::VecDeque::new();
        matcher.list_conditions(plan, |condition, _| requested.push_back(condition));
        matcher.row(plan, index, own, |condition| {
            assert_eq!(requested.pop_front(), Some(condition));
            own >> condition & 1 == 1
        });
        assert!(requested.is_empty());
        max = max.max(matcher.partials());
        matcher.decide(plan, &mut decided);
    }
    matcher.expire(plan, rows.len() as i64, true);
    matcher.decide(plan, &mut decided);
    assert_eq!(matcher.partials(), 0);
    let shown = |matched: &Rc<MatchedRow>| {
        let mut rows: Vec<String> = matched.rows().map(|(row, _)| row.to_string()).collect();
        rows.reverse();
        assert_eq!(rows.first(), Some(&matched.start().to_string()));
        rows.join(" ")
    };
    (decided.found.iter().map(shown).collect(), max)
}

#[test]
fn matches_are_those_that_the_steps_tell() {
    let past = Skip::PastLastRow;
    for (steps, within, skip, rows, found) in [
        ("a b", None, past, "abcab", &["0 1", "3 4"][..]),
        ("a next b", None, past, "acb", &[]),
        ("a followed by b", None, past, "aacbb", &["0 3"]),
        ("a followed by b", None, Skip::ToNextRow, "aacbb", &["0 3", "1 3"]),
        ("a followed by b", Some(2), Skip::ToNextRow, "aacbb", &["1 3"]),
        ("a{3} next b", None, past, "aaaab", &["1 2 3 4"]),
        ("a{3} with gaps followed by b", None, past, "acacabb", &["0 2 4 5"]),
        ("a+ b+", None, past, "aabbab", &["0 1 2 3", "4 5"]),
        ("a+ b+?", None, past, "aabb", &["0 1 2"]),
        ("a+? with gaps followed by b+", None, past, "aabb", &["0 2 3"]),
        ("a* b", None, past, "aabb", &["0 1 2", "3"]),
        ("a b? c", None, past, "abcacab", &["0 1 2", "3 4"]),
        ("a b?? z", None, past, "abcab", &["0 1", "3 4"]),
        // Rows that a step could still take are awaited until the input ends.
        ("a b? z", None, past, "abcab", &["0 1 2", "3 4"]),
        ("a{2,3}", None, past, "aaaaaa", &["0 1 2", "3 4 5"]),
        ("a{2,3}?", None, past, "aaaaaa", &["0 1", "2 3", "4 5"]),
        ("a{,2} b", None, past, "aaab", &["1 2 3"]),
        ("a next not b", None, past, "abaca", &["2", "4"]),
        ("a next not b followed by c", None, past, "abcadc", &["3 5"]),
        ("a followed by not b followed by c", None, past, "abcadc", &["3 5"]),
        // A row that satisfies both counts as the awaited one.
        ("a followed by not b followed by c", None, past, "adB", &["0 2"]),
        ("a followed by not b", Some(2), past, "acbacdb", &["3"]),
        ("a followed by not b", Some(2), past, "acba", &["3"]),
        ("a next not b", Some(1), past, "accb", &["0"]),
        // The conditions of a step without rows apply to the next one.
        ("a followed by not d followed by b? followed by c", None, past, "aecadcac", &["0 2", "6 7"]),
        ("a{3} with gaps without b", None, past, "acabacaca", &["4 6 8"]),
        ("a+ with gaps without b followed by c", None, Skip::ToNextRow, "abac", &["0 3", "2 3"]),
        ("a+ b", None, Skip::ToNextRow, "aab", &["0 1 2", "1 2"]),
        ("a+ b", None, Skip::ToFirst(0), "aab", &["0 1 2", "1 2"]),
        ("a+ b+", None, Skip::ToLast(0), "aabb", &["0 1 2 3", "1 2 3"]),
        ("z a y", None, Skip::ToLast(2), "babab", &["0 1 2", "2 3 4"]),
        // A match waits for attempts that begin before it.
        ("a followed by c", Some(3), past, "aabac", &["1 4"]),
    ] {
        for of_match in [false, true] {
            assert_eq!(run(&plan(steps, within, skip, of_match), rows).0, found, "{steps} {rows} {skip:?}");
        }
    }
}

/// Redundant partial matches are dropped without losing a match.
#[test]
fn few_partial_matches_are_as_good_as_all() {
    let mut random = Random(5);
    let steps = [
        "a* b* c",
        "a+ with gaps followed by b+ with gaps followed by c",
        "a{2,4} with gaps next b*? next c",
        "a{2,} with gaps without d followed by not d followed by b{1,2} with gaps next not c",
    ];
    for text in steps {
        for skip in [Skip::PastLastRow, Skip::ToNextRow, Skip::ToLast(1)] {
            for _ in 0..200 {
                let within = Some(random.below(12) as i64).filter(|within| *within > 2);
                let rows: String = (0..12).map(|_| char::from(b"abcdAB"[random.below(6) as usize])).collect();
                let (few, all) = (plan(text, within, skip, false), plan(text, within, skip, true));
                assert_eq!(run(&few, &rows).0, run(&all, &rows).0, "{text} {within:?} {rows} {skip:?}");
            }
        }
    }
    let rows = "A".repeat(200);
    // One attempt per row, and a few partial matches of each.
    assert!(
        run(&plan("a+ with gaps followed by b+ with gaps followed by c", None, Skip::PastLastRow, false), &rows).1
            < 1_000
    );
}

#[test]
fn a_match_may_have_as_many_rows_as_there_are() {
    let mut matched = None;
    for row in 0..1_000_000 {
        matched = Some(Rc::new(MatchedRow::new(row, usize::from(row > 3), matched)));
    }
    let matched = matched.unwrap();
    assert_eq!((matched.start(), matched.of_step(0), matched.of_step(1)), (0, Some((0, 3)), Some((4, 999_999))));
    assert_eq!((matched.count, matched.of_step(2)), (999_996, None));
    drop(matched);
}
