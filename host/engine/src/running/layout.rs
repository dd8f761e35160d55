//! On which machines a job runs, as its processes tell each other where that changes while it runs.

use millstream_base::digest::checksum;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// Bytes of a layout as it is told: what a process may be asked holds it.
pub const LAYOUT_BYTES_MAX: usize = 12 << 10;

/// The processes of a job, one on each of some machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLayout {
    /// Worker threads of each process; `None`: as each of them was started.
    pub workers: Option<usize>,
    /// `host:port` of each process.
    pub hosts: Vec<String>,
}

impl JobLayout {
    /// A number by which processes that were given these machines know each other, never 0.
    pub fn id(&self) -> u64 {
        u64::from_str_radix(&checksum(self.hosts.join("\n").as_bytes()), 16).unwrap_or(1).max(1)
    }

    /// The number of the process at this address.
    pub fn place_of(&self, host: &str) -> Option<usize> {
        self.hosts.iter().position(|other| other == host)
    }
}

/// The machines that a process belongs to beside what its arguments say: of a job that was given others while it ran.
#[derive(Clone, Debug, Default)]
pub struct LayoutNews {
    /// [`JobLayout::id`] of the machines that the job was given; 0: those that each process was started with.
    pub id: u64,
    /// What process 0 runs instead, once it has said so. The process is to be started again with that.
    pub told: Arc<OnceLock<JobLayout>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_have_another_number_and_other_workers_do_not() {
        let layout = |hosts: &[&str], workers| JobLayout {
            workers,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        let own = layout(&["a:1", "b:1"], None);
        assert_eq!(own.id(), layout(&["a:1", "b:1"], Some(3)).id());
        assert!(
            [layout(&["b:1", "a:1"], None), layout(&["a:1"], None), layout(&[], None)]
                .iter()
                .all(|l| l.id() != own.id() && l.id() != 0)
        );
        assert_eq!((own.place_of("b:1"), own.place_of("c:1")), (Some(1), None));
    }
}
