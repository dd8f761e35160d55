//! Partitions of sources. A partition is read in order, has a position and its own watermark clock, and belongs to one process at a time. The
//! process depends only on the partition's name. So a job that is restarted with another number of processes finds all positions, and no two
//! processes read the same partition.

use super::keys::{GROUP_SHIFT, KEY_GROUPS, group_range};
use super::position::SOURCE_END;
use millstream_base::ids::ClockId;
use xxhash_rust::xxh3::xxh3_64;

/// Prefix of a partition's name: the position under that name says that the partition exists and has its own clock. The process that owns key group
/// 0 reports this for all partitions, so that no clock is missing before its first row.
pub const CLOCK_PREFIX: &str = "clock:";

/// Mark of a partition's position after a batch that holds all of it: the server said that there was nothing more. The partition can then be ignored
/// by the watermark while it has no rows, see `inbox/ends`. A plan without such marks does not say.
pub const AT_END: i64 = 1;

/// Mark of a partition's position after a batch that is followed by more rows, or if that is unknown. Under [`CLOCK_PREFIX`] alone, both marks
/// describe a source without known partitions.
pub const MORE: i64 = 2;

/// Mark of a clock's position if plans have the marks above; until such a mark, the partition has more.
pub const REPORTS_END: i64 = 1;

/// Prefix of the name of a polled partition, or of one of several servers: the position under that name counts its rows, and its chunks have that
/// name.
const ROWS_PREFIX: &str = "rows:";

/// Prefix of the name of a polled partition, after which its position follows in the reader's own format.
pub const POSITION_PREFIX: &str = "of:";

/// Separates the two.
pub const POSITION_MARK: char = '=';

/// Prefix of a file name in a directory: the position under that name says that the file is being read and has its own clock. Alone it says that
/// there are files that no process has begun to read. No file has such a name: after a slash there are only digits.
pub const FILE_CLOCK_PREFIX: &str = "/clock:";

/// Follows a process number in the name of a source: the rows that this process received from a source with spread partitions.
const SHARE: char = '#';

/// Returns the key group of a partition by its name, or by that of a position or chunk of it. Partitions that differ in a number at the end
/// (`orders/0`, `orders/1` …) are spread evenly over the key groups, like multiples of the golden ratio. Few partitions are thus spread as evenly as
/// many.
pub fn group_of(partition: &str) -> u32 {
    // A file's clock belongs to the same process as the file.
    let partition = match partition.strip_prefix(FILE_CLOCK_PREFIX) {
        Some("") => return 0,
        Some(file) => file,
        None => partition,
    };
    // The process that reports clocks also reports the end of all of them.
    if partition.starts_with(CLOCK_PREFIX) || partition == SOURCE_END {
        return 0;
    }
    let position = partition.strip_prefix(POSITION_PREFIX).and_then(|named| named.rsplit_once(POSITION_MARK));
    let partition = match (partition.strip_prefix(ROWS_PREFIX), position) {
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
    let spread = xxh3_64(stem.as_bytes()).wrapping_add(number.wrapping_mul(GOLDEN));
    (spread >> GROUP_SHIFT) as u32
}

/// Returns the name of the position that reports a partition's clock.
pub fn clock_name(partition: &str) -> String {
    format!("{CLOCK_PREFIX}{partition}")
}

/// Returns the name of the position that reports a file's clock.
pub fn file_clock_name(file: &str) -> String {
    format!("{FILE_CLOCK_PREFIX}{file}")
}

/// Returns the name of the position that counts the rows of a polled partition, and of its chunks.
pub fn rows_name(partition: &str) -> String {
    format!("{ROWS_PREFIX}{partition}")
}

/// Returns whether a position counts rows of a polled partition.
pub fn counts_rows(name: &str) -> bool {
    counted(name).is_some()
}

/// Returns the partition whose rows a position counts.
pub fn counted(name: &str) -> Option<&str> {
    name.strip_prefix(ROWS_PREFIX)
}

/// Prefix of the number of a partition that a process receives from incoming connections.
const LISTENER_PREFIX: &str = "listener/";
/// How many numbers are tried. They are spread evenly over the key groups, so one of the first lies in each share.
const LISTENERS_MAX: u32 = 1 << 16;

/// Returns the partition name of what clients send to the process with this share.
pub fn listener_name(share: Share) -> String {
    let mut names = (0..LISTENERS_MAX).map(|number| format!("{LISTENER_PREFIX}{number}"));
    names.find(|name| share.owns(name)).unwrap_or_default()
}

/// Returns the clock of a partition of the source with this number.
pub fn clock_of(source: u32, partition: &str) -> ClockId {
    ClockId { stream: source, partition: clock_number(partition) }
}

/// Returns the number of a partition's clock, among those of its source.
pub fn clock_number(partition: &str) -> u64 {
    xxh3_64(partition.as_bytes()).max(1)
}

/// The key groups whose partitions a process reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The first.
    pub first: u32,
    /// End (exclusive).
    pub end: u32,
}

impl Share {
    /// All partitions.
    pub const ALL: Share = Share { first: 0, end: KEY_GROUPS as u32 };

    /// Returns the share of one of several processes.
    pub fn new(process: usize, processes: usize) -> Share {
        let (first, end) = group_range(process, processes);
        Share { first, end }
    }

    /// Returns the group of all positions that report clocks.
    pub fn of_clocks() -> Share {
        Share { first: 0, end: 1 }
    }

    /// Returns whether the share contains a partition of this name.
    pub fn owns(&self, partition: &str) -> bool {
        (self.first..self.end).contains(&group_of(partition))
    }

    /// Returns whether the process with this share reports which partitions exist.
    pub fn reports_clocks(&self) -> bool {
        self.first == 0
    }
}

/// Returns the name under which a process plans what it received of a source: its own name if the source is spread over several processes.
pub fn plan_name(source: &str, spread: bool, (process, processes): (usize, usize)) -> String {
    if spread && processes > 1 { format!("{source}{SHARE}{process}") } else { source.to_owned() }
}

/// Returns the source whose plan has this name.
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
                    let (min, max) = (count.iter().min().unwrap(), count.iter().max().unwrap());
                    assert!(max - min <= 3, "{topic}, {partitions} over {processes}: {count:?}");
                    assert!(partitions != 4 || processes != 2 || max - min <= 2, "{count:?}");
                }
            }
        }
    }

    #[test]
    fn each_process_has_a_name_for_what_comes_to_it() {
        for processes in [1, 2, 3, 7, 64, 1_000] {
            for process in 0..processes {
                let share = Share::new(process, processes);
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
        assert!(shares[0].owns("clock:orders/3") && shares[0].reports_clocks() && !shares[1].reports_clocks());
    }

    #[test]
    fn all_that_is_kept_of_a_partition_that_is_polled_lies_together() {
        for partition in ["", "a", "shardId-000000000003", "a=b", "of:a=b", "rows:a", "clock:a", "end"] {
            let names = [rows_name(partition), format!("{POSITION_PREFIX}{partition}{POSITION_MARK}3d3d")];
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
        assert_eq!(clock_of(1, "a/0").without_partition(), ClockId::for_stream(1));
    }
}
