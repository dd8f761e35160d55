//! The machines on which a job runs, as its processes report changes to each other.

use millstream_base::digest::checksum;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// Maximum bytes of an encoded layout. It fits into a request to a process.
pub const LAYOUT_BYTES_MAX: usize = 12 << 10;

/// The processes of a job, one per machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLayout {
    /// Worker threads of each process; `None`: as each process was started.
    pub workers: Option<usize>,
    /// `host:port` of each process.
    pub hosts: Vec<String>,
}

impl JobLayout {
    /// Returns a number that identifies this layout to the processes that have it, never 0.
    pub fn id(&self) -> u64 {
        u64::from_str_radix(&checksum(self.hosts.join("\n").as_bytes()), 16).unwrap_or(1).max(1)
    }

    /// Returns the number of the process at this address.
    pub fn index_of_host(&self, host: &str) -> Option<usize> {
        self.hosts.iter().position(|other| other == host)
    }
}

/// A layout that replaces the one in a process's arguments, if the job was rescaled while it ran.
#[derive(Clone, Debug, Default)]
pub struct LayoutUpdate {
    /// [`JobLayout::id`] of the current layout; 0: the one that each process was started with.
    pub id: u64,
    /// The layout that process 0 runs instead, once reported. The process is to be restarted with that.
    pub reported: Arc<OnceLock<JobLayout>>,
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
        assert_eq!((own.index_of_host("b:1"), own.index_of_host("c:1")), (Some(1), None));
    }
}
