//! Partitions of sources: a partition is read in order, has a position and a clock of its own, and belongs to one process at a
//! time. Which one depends on its name alone, so that a job which is started with another number of processes finds the
//! positions of all partitions, and no two processes read one.

use super::keys::{GROUP_SHIFT, KEY_GROUPS, group_range};
use super::position::SOURCE_END;
use crate::ids::ClockId;
use xxhash_rust::xxh3::xxh3_64;

/// In front of the name of a partition: the position under that name tells that the partition is there, with a clock of its own.
/// The process that owns key group 0 tells it of all partitions, so that no clock is left out before its first row.
pub const CLOCK_PREFIX: &str = "clock:";

/// The mark of a partition's position after a batch that has all of it: its server said that there was nothing more. So that it
/// may be left out of the watermark when no rows come of it, see `inbox/ends`. A plan without such marks says nothing of it.
pub const AT_END: i64 = 1;

/// The mark of a partition's position after a batch behind which there is more, or nobody knows. Under [`CLOCK_PREFIX`] alone both
/// marks tell of a source of which no partition is known yet.
pub const MORE: i64 = 2;

/// The mark of the position that tells of a partition's clock, where plans have the marks above: without one there is more.
pub const TELLS_END: i64 = 1;

/// In front of the name of a partition that is polled, or is one of several servers: the position under that name counts its rows, and chunks of it are named so.
const ROWS_PREFIX: &str = "rows:";

/// In front of the name of a partition that is polled, behind which its place follows in the words of whoever reads it.
pub const PLACE_PREFIX: &str = "of:";

/// Between the two.
pub const PLACE_MARK: char = '=';

/// In front of the name of a file of a folder: the position under that name tells that the file is being read, with a clock of its own.
/// Alone it tells that there are files which nobody has begun to read. No file has such a name: behind a slash all are digits.
pub const FILE_CLOCK_PREFIX: &str = "/clock:";

/// Behind the number of a process, in the name of a source: what that process received of a source whose partitions are spread.
const SHARE: char = '#';

/// The key group of a partition by its name, or by that of a position or chunk of it. Partitions that differ in a number at the end (`orders/0`, `orders/1` …) lie evenly
/// over the key groups, as multiples of the golden ratio do, so that a few partitions are spread as evenly as many.
pub fn group_of(partition: &str) -> u32 {
    // A clock of a file goes with its file.
    let partition = match partition.strip_prefix(FILE_CLOCK_PREFIX) {
        Some("") => return 0,
        Some(file) => file,
        None => partition,
    };
    // Who tells of clocks tells of the end of all, too.
    if partition.starts_with(CLOCK_PREFIX) || partition == SOURCE_END {
        return 0;
    }
    let place = partition.strip_prefix(PLACE_PREFIX).and_then(|named| named.rsplit_once(PLACE_MARK));
    let partition = match (partition.strip_prefix(ROWS_PREFIX), place) {
        (Some(polled), _) | (None, Some((polled, _))) => polled,
        (None, None) => partition,
    };
    let number_at = partition.trim_end_matches(|digit: char| digit.is_ascii_digit()).len();
    let (stem, number) = partition.split_at_checked(number_at).unwrap_or((partition, ""));
    let (stem, number) = match number.parse::<u64>() {
        Ok(number) => (stem, number),
        Err(_) => (partition, 0),
    };
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let place = xxh3_64(stem.as_bytes()).wrapping_add(number.wrapping_mul(GOLDEN));
    (place >> GROUP_SHIFT) as u32
}

/// The name of the position that tells of a partition's clock.
pub fn clock_name(partition: &str) -> String {
    format!("{CLOCK_PREFIX}{partition}")
}

/// The name of the position that tells of a file's clock.
pub fn file_clock_name(file: &str) -> String {
    format!("{FILE_CLOCK_PREFIX}{file}")
}

/// The name of the position that counts the rows of a partition that is polled, and of chunks of it.
pub fn rows_name(partition: &str) -> String {
    format!("{ROWS_PREFIX}{partition}")
}

/// Whether a position counts rows of a partition that is polled.
pub fn counts_rows(name: &str) -> bool {
    counted(name).is_some()
}

/// The partition whose rows a position counts.
pub fn counted(name: &str) -> Option<&str> {
    name.strip_prefix(ROWS_PREFIX)
}

/// In front of the number of a partition that a process receives as others connect to it.
const LISTENER_PREFIX: &str = "listener/";
/// Numbers that are tried. They lie evenly over the key groups, so one of the first is in each share.
const LISTENERS_MAX: u32 = 1 << 16;

/// The name of the partition of what others send to the process with this share.
pub fn listener_name(share: Share) -> String {
    let mut names = (0..LISTENERS_MAX).map(|number| format!("{LISTENER_PREFIX}{number}"));
    names.find(|name| share.owns(name)).unwrap_or_default()
}

/// The clock of a partition of the source with this number.
pub fn clock_of(source: u32, partition: &str) -> ClockId {
    ClockId { stream: source, partition: clock_number(partition) }
}

/// The number of a partition's clock, among those of its source.
pub fn clock_number(partition: &str) -> u64 {
    xxh3_64(partition.as_bytes()).max(1)
}

/// The key groups whose partitions a process reads: first, and one behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The first.
    pub first: u32,
    /// One behind the last.
    pub end: u32,
}

impl Share {
    /// All partitions.
    pub const ALL: Share = Share { first: 0, end: KEY_GROUPS as u32 };

    /// That of one process of several.
    pub fn of(process: usize, processes: usize) -> Share {
        let (first, end) = group_range(process, processes);
        Share { first, end }
    }

    /// The group in which all positions lie that tell of clocks.
    pub fn of_clocks() -> Share {
        Share { first: 0, end: 1 }
    }

    /// Whether a partition of this name is in it.
    pub fn owns(&self, partition: &str) -> bool {
        (self.first..self.end).contains(&group_of(partition))
    }

    /// Whether the process that has it tells which partitions there are.
    pub fn tells_clocks(&self) -> bool {
        self.first == 0
    }
}

/// The name under which a process plans what it received of a source: its own where the source is spread over several.
pub fn plan_name(source: &str, spread: bool, (process, processes): (usize, usize)) -> String {
    if spread && processes > 1 { format!("{source}{SHARE}{process}") } else { source.to_owned() }
}

/// The source whose plan has this name.
pub fn source_of(name: &str) -> &str {
    name.split_once(SHARE).map_or(name, |(source, _)| source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_partitions_are_spread_evenly() {
        for topic in ["orders", "a", "clicks.2026", "t9"] {
            for processes in 1..=8_u32 {
                for partitions in 1..=64_u32 {
                    let mut count = vec![0_u32; processes as usize];
                    for partition in 0..partitions {
                        let group = group_of(&format!("{topic}/{partition}"));
                        assert!(group < KEY_GROUPS as u32);
                        count[(group * processes / KEY_GROUPS as u32) as usize] += 1;
                    }
                    let (least, most) = (count.iter().min().unwrap(), count.iter().max().unwrap());
                    assert!(most - least <= 3, "{topic}, {partitions} over {processes}: {count:?}");
                    assert!(partitions != 4 || processes != 2 || most - least <= 2, "{count:?}");
                }
            }
        }
    }

    #[test]
    fn each_process_has_a_name_for_what_comes_to_it() {
        for processes in [1, 2, 3, 7, 64, 1_000] {
            for process in 0..processes {
                let share = Share::of(process, processes);
                let name = listener_name(share);
                assert!(!name.is_empty() && share.owns(&name), "{process} of {processes}: {name}");
            }
        }
    }

    #[test]
    fn each_partition_is_in_one_share() {
        let shares =
            [Share { first: 0, end: 1366 }, Share { first: 1366, end: 2731 }, Share { first: 2731, end: 4096 }];
        for name in ["orders/0", "orders/12345678901234567890123", "", "ünicode/7", "shardId-000000000003", "/"] {
            assert_eq!(shares.iter().filter(|share| share.owns(name)).count(), 1, "{name}");
            assert!(Share::ALL.owns(name));
        }
        assert!(shares[0].owns("clock:orders/3") && shares[0].tells_clocks() && !shares[1].tells_clocks());
    }

    #[test]
    fn all_that_is_kept_of_a_partition_that_is_polled_lies_together() {
        for partition in ["", "a", "shardId-000000000003", "a=b", "of:a=b", "rows:a", "clock:a", "end"] {
            let names = [rows_name(partition), format!("{PLACE_PREFIX}{partition}{PLACE_MARK}3d3d")];
            assert_eq!(group_of(&names[0]), group_of(&names[1]), "{partition}");
        }
        assert_eq!((group_of(&rows_name("a")), group_of(SOURCE_END)), (group_of("a"), 0));
        for file in ["a.csv", "clock:a", "end", "/ff", "of:a=b"] {
            assert_eq!(group_of(&file_clock_name(file)), group_of(file), "{file}");
        }
        assert_eq!(group_of(FILE_CLOCK_PREFIX), 0);
        assert!(counts_rows(&rows_name("")) && !counts_rows(""));
    }

    #[test]
    fn a_share_has_the_name_of_its_source() {
        let names =
            [(true, 2), (true, 1), (false, 2)].map(|(spread, processes)| plan_name("in", spread, (0, processes)));
        assert_eq!(names, ["in#0", "in", "in"]);
        assert!(names.iter().all(|name| source_of(name) == "in"));
        assert_ne!(clock_of(1, "a/0"), clock_of(1, "a/1"));
        assert_eq!(clock_of(1, "a/0").whole(), ClockId::of(1));
    }
}
