//! What this process takes.

/// Resident memory, in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has this file");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has this line");
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("it is a number of KiB");
    kib * 1024
}

/// Threads.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("Linux has this folder").count()
}
