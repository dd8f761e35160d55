//! Joins of batches and windows.

use super::super::batch::windows;
use super::*;

const CASES: u64 = 4_000;

#[test]
fn batches_and_windows_are_joined_as_nested_loops_do() {
    let mut pairs = 0;
    for case in 0..CASES {
        let mut dice = Dice::new(case);
        let key = KeyKind::random(&mut dice);
        let windowed = dice.chance(50);
        let mut id = 0;
        let mut side = || {
            let rows = dice.throw(30);
            let mut row = |dice: &mut Dice| {
                id += 1;
                let start = dice.throw(3) as i64 * 10;
                let times = if windowed { vec![start, start + [10, 20][dice.throw(2) as usize]] } else { Vec::new() };
                Row { key: key.key(dice), times, id }
            };
            (0..rows).map(|_| row(&mut dice)).collect::<Vec<_>>()
        };
        let sides = [side(), side()];
        let kind = KINDS[dice.throw(4) as usize];
        let cut = |rows: &[Row], dice: &mut Dice| {
            let mut parts = Vec::new();
            let mut rest = rows;
            while !rest.is_empty() {
                let (part, more) = rest.split_at(1 + dice.throw(rest.len() as u64) as usize);
                parts.push(rows_of(key, part, true));
                rest = more;
            }
            parts
        };
        let parts = [cut(&sides[0], &mut dice), cut(&sides[1], &mut dice)];
        let on = key.columns.len();
        let found = windows(kind, on, windowed, [&parts[0], &parts[1]]).unwrap();
        let joined = joined(key, on + if windowed { 2 } else { 0 });
        let chunks = [0, 1].map(|side: usize| parts[side].iter().collect::<Vec<_>>());
        let mut rows = Vec::new();
        for window in found {
            let batch = joined.rows([&chunks[0], &chunks[1]], &window.pairs).unwrap();
            check_keys(key, &batch, &sides);
            rows.extend(ids(&batch));
        }
        pairs += rows.len();
        assert_eq!(rows, nested_loops(kind, key, &sides), "case {case}: {kind:?} of {sides:?}");
    }
    assert!(pairs > CASES as usize * 20, "{pairs} pairs are few");
}

/// Orders by window, by key, then by arrival.
fn nested_loops(kind: JoinKind, key: KeyKind, sides: &[Vec<Row>; 2]) -> Vec<[Option<i64>; 2]> {
    let keys = [keys(key, &sides[0]), keys(key, &sides[1])];
    let partners = |a: &Row, b: &Row| a.times == b.times && same_key(a, b, key);
    let mut found = Vec::new();
    let order_of = |side: usize, row: usize| {
        let times = &sides[side][row].times;
        (times.iter().rev().copied().collect::<Vec<i64>>(), keys[side][row].clone())
    };
    for (a, first) in sides[0].iter().enumerate() {
        let before = found.len();
        for (b, second) in sides[1].iter().enumerate() {
            if partners(first, second) {
                found.push((order_of(0, a), a, b, [Some(first.id), Some(second.id)]));
            }
        }
        if found.len() == before && Side::First.is_outer(kind) {
            found.push((order_of(0, a), a, usize::MAX, [Some(first.id), None]));
        }
    }
    for (b, second) in sides[1].iter().enumerate() {
        if Side::Second.is_outer(kind) && !sides[0].iter().any(|first| partners(first, second)) {
            found.push((order_of(1, b), usize::MAX, b, [None, Some(second.id)]));
        }
    }
    found.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    found.into_iter().map(|(_, _, _, ids)| ids).collect()
}

/// The emitted key columns are those of the existing row.
fn check_keys(key: KeyKind, batch: &RecordBatch, sides: &[Vec<Row>; 2]) {
    for (row, ids) in ids(batch).into_iter().enumerate() {
        let (side, id) = if let Some(id) = ids[0] { (0, id) } else { (1, ids[1].unwrap()) };
        let source = sides[side].iter().find(|source| source.id == id).unwrap();
        let expected = rows_of(key, std::slice::from_ref(source), true);
        for position in 0..key.columns.len() {
            assert_eq!(&batch.column(position).slice(row, 1), expected.column(position));
        }
    }
}

#[test]
fn a_product_that_is_too_large_is_refused() {
    let key = KeyKind { columns: &[ColumnType::Int64], values: 1, null_percent: 0 };
    let row = |id| Row { key: vec![Some(0)], times: Vec::new(), id };
    let rows = rows_of(key, &(0..8_000).map(row).collect::<Vec<_>>(), true);
    let sides = [std::slice::from_ref(&rows), std::slice::from_ref(&rows)];
    let error = windows(JoinKind::Inner, 1, false, sides).unwrap_err();
    assert!(error.message.contains("more than 50000000 rows"), "{error}");
}
