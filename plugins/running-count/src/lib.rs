//! Rows counted per key.

use millstream_sdk::{KeyedOut, Row, Rows, update};

/// How many rows a key has had, as state and as output.
#[derive(Row)]
pub struct Count {
    count: i64,
}

/// Counts the rows of each key since the job began, and emits the key with its new count. Works with any key and any
/// columns.
#[update]
pub fn running_count(rows: Rows, state: Option<Count>, out: &mut KeyedOut<Count>) -> Count {
    let count = state.map_or(0, |state| state.count) + rows.len() as i64;
    out.push(Count { count });
    Count { count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::{json, testing};

    #[test]
    fn counts_go_on_from_batch_to_batch() {
        let mut test = testing::update::<running_count>().key("word text, day int64");
        let first = json!([{"word": "to", "day": 1}, {"word": "be", "day": 1}, {"word": "to", "day": 1}]);
        let expected = json!([{"word": "to", "day": 1, "count": 2}, {"word": "be", "day": 1, "count": 1}]);
        assert_eq!(test.run(first).expect("first batch").rows, expected);
        let run = test.run(json!([{"word": "to", "day": 1}, {"word": "to", "day": null}])).expect("second batch");
        let expected = json!([{"word": "to", "day": 1, "count": 3}, {"word": "to", "day": null, "count": 1}]);
        assert_eq!(run.rows, expected);
    }
}
