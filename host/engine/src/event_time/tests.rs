use super::*;

#[test]
fn a_stop_counts_as_one_interval() {
    let mut lapses = Lapses { interval_us: 10, last: None };
    let mut next = |time, resumed| lapses.next(BatchTime(time), resumed);
    assert_eq!(next(1000, false), 0, "nothing was before the first batch");
    assert_eq!(next(1025, false), 25);
    assert_eq!(next(9000, true), 10);
    assert_eq!(next(9010, false), 10);
    assert_eq!(next(9014, true), 4, "a quick start");
    assert_eq!(next(i64::MAX, false), i64::MAX - 9014);
}
