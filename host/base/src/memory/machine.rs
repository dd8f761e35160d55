//! The memory of this machine for the process: its own, or less if a control group limits it.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns bytes; `None` if unknown.
pub fn memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_files(&groups).into_iter().filter_map(|file| group_limit(&fs::read_to_string(file).ok()?));
    of_meminfo(&meminfo).into_iter().chain(limits).min()
}

/// Parses `MemTotal:       24560484 kB`.
fn of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Parses a number of bytes; `max` is no limit.
fn group_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes > 0)
}

/// Returns files that may contain a limit of the groups in `/proc/self/cgroup`, for both versions: those of a group, and of all its parents. In a
/// container the names may be those of the host; the root visible there is the container's own.
fn group_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let inside = Path::new(path.trim_start_matches('/'));
        files.extend(inside.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells() {
        assert_eq!(of_meminfo("MemTotal:       24560484 kB\nMemFree: 1 kB\n"), Some(24_560_484 * 1024));
        assert_eq!((of_meminfo(""), of_meminfo("MemTotal: x kB")), (None, None));
        assert!(memory().is_some_and(|bytes| bytes > 64 << 20));
    }

    #[test]
    fn limits_of_a_group_and_of_those_around_it_count() {
        assert_eq!((group_limit("max\n"), group_limit("536870912\n"), group_limit("0")), (None, Some(512 << 20), None));
        let files = |text| group_files(text).iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            files("0::/a.slice/b.service\n"),
            [
                "/sys/fs/cgroup/a.slice/b.service/memory.max",
                "/sys/fs/cgroup/a.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        let old = "5:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n";
        assert_eq!(
            files(old),
            [
                "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(files("nonsense\n1:name=systemd:/\n"), [""; 0]);
    }
}
