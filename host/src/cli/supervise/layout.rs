//! In which processes, and with how many workers, a supervisor runs its job: as its arguments say, until somebody asks for others.

use crate::cli::run::{PROCESSES_MAX, RunArguments};
use crate::error::{Error, Result};
use crate::run::{ClusterKey, LocalPorts};

/// The processes of a job that one supervisor runs.
pub struct Layout {
    /// The `--process` of each child; `None` for the only one, which has that of the supervisor.
    pub numbers: Vec<Option<usize>>,
    /// `--workers`
    pub workers: Option<usize>,
    /// `--processes`
    pub processes: Option<usize>,
    /// `--hosts`
    pub hosts: Vec<String>,
    /// By which the job's processes know each other, where there are several.
    pub key: Option<ClusterKey>,
    /// Held as long as the job runs so.
    pub _ports: Option<LocalPorts>,
}

impl Layout {
    /// As the arguments say.
    pub fn of(arguments: &RunArguments, numbers: Vec<Option<usize>>, key: Option<ClusterKey>) -> Layout {
        let (workers, processes, hosts) = (arguments.workers, arguments.processes, arguments.hosts.clone());
        Layout { numbers, workers, processes, hosts, key, _ports: None }
    }

    /// The same with so many workers in each of so many processes, all on this machine; what is not said stays. `alone`: the arguments
    /// are about one process of several that were started one by one.
    pub fn scaled(&self, workers: Option<usize>, processes: Option<usize>, alone: bool) -> Result<Layout> {
        if alone {
            return Err(Error::job(
                "the processes of this job were started one by one, with --process, so no supervisor can start others in their \
                 place: stop all (`millstream stop`), and start them with other --workers or --hosts; the job goes on from its \
                 checkpoint",
            ));
        }
        let workers = workers.or(self.workers);
        let count = processes.unwrap_or(self.numbers.len());
        if count == 0 || count > PROCESSES_MAX {
            return Err(Error::job(format!("--processes is {count}; a job has from 1 to {PROCESSES_MAX} processes")));
        }
        if count == 1 {
            let (processes, hosts) = (None, Vec::new());
            return Ok(Layout { numbers: vec![None], workers, processes, hosts, key: None, _ports: None });
        }
        // The ports of those that run are theirs until they are gone.
        let ports = LocalPorts::reserve(count)?;
        let (processes, hosts) = (Some(count), ports.hosts()?);
        let key = self.key.clone().map_or_else(ClusterKey::generate, Ok)?;
        let numbers = (0..count).map(Some).collect();
        Ok(Layout { numbers, workers, processes, hosts, key: Some(key), _ports: Some(ports) })
    }
}
