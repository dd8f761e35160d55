//! The processes and workers with which a supervisor runs its job: those of its arguments, until a scale request
//! changes them.

use crate::cli::run::arguments::RunArguments;
use crate::cli::run::processes::{PROCESSES_MAX, trust_of};
use millstream_base::error::{Error, Result};
use millstream_runtime::{ClusterKey, JobLayout, LAYOUT_BYTES_MAX, LocalPorts};

/// The processes of a job that one supervisor runs.
pub struct Layout {
    /// The `--process` of each child. `None` for a single child, which has the number of the supervisor.
    pub numbers: Vec<Option<usize>>,
    /// `--workers`
    pub workers: Option<usize>,
    /// `--processes`
    pub processes: Option<usize>,
    /// `--hosts`
    pub hosts: Vec<String>,
    /// The key with which the job's processes authenticate each other, if there are several.
    pub key: Option<ClusterKey>,
    /// [`JobLayout::id`] of the machines that the job was given while it ran. 0 means those of the arguments.
    pub given: u64,
    /// The reserved ports, held as long as the job runs with this layout.
    pub _ports: Option<LocalPorts>,
}

impl Layout {
    /// Returns the layout of the arguments.
    pub fn new(arguments: &RunArguments, numbers: Vec<Option<usize>>, key: Option<ClusterKey>) -> Layout {
        let (workers, processes, hosts) = (arguments.workers, arguments.processes, arguments.hosts.clone());
        Layout { numbers, workers, processes, hosts, key, given: 0, _ports: None }
    }

    /// Returns this layout with `workers` workers in each of `processes` processes, all on this machine. `None` keeps a
    /// value.
    pub fn scaled(&self, workers: Option<usize>, processes: Option<usize>) -> Result<Layout> {
        let workers = workers.or(self.workers);
        let count = processes.unwrap_or(self.numbers.len());
        if count == 0 || count > PROCESSES_MAX {
            return Err(Error::job(format!("--processes is {count}; a job has from 1 to {PROCESSES_MAX} processes")));
        }
        if count == 1 {
            let (processes, hosts) = (None, Vec::new());
            return Ok(Layout { numbers: vec![None], workers, processes, hosts, key: None, given: 0, _ports: None });
        }
        // The ports of running processes stay in use until these have exited.
        let ports = LocalPorts::reserve(count)?;
        let (processes, hosts) = (Some(count), ports.hosts()?);
        let key = self.key.clone().map_or_else(ClusterKey::generate, Ok)?;
        let numbers = (0..count).map(Some).collect();
        Ok(Layout { numbers, workers, processes, hosts, key: Some(key), given: 0, _ports: Some(ports) })
    }

    /// Returns the machines of a job whose process 0 is this one and was started separately. `None` keeps a value.
    pub fn machines(&self, number: usize, workers: Option<usize>, hosts: Vec<String>) -> Result<JobLayout> {
        let first = self.hosts.first().map_or("", String::as_str);
        if number != 0 {
            return Err(Error::job(format!(
                "this is process {number} of the job; run the command on the machine of process 0 ({first})"
            )));
        }
        let hosts = if hosts.is_empty() { self.hosts.clone() } else { hosts };
        if hosts.first().map(String::as_str) != Some(first) {
            return Err(Error::job(format!(
                "the first of --hosts must stay {first}: process 0 cannot move to another machine while the job runs; \
                 stop it (`millstream stop`) and start its processes with the new --hosts; it resumes from its checkpoint"
            )));
        }
        if hosts.len() > PROCESSES_MAX || hosts.iter().map(String::len).sum::<usize>() > LAYOUT_BYTES_MAX {
            return Err(Error::job(
                "--hosts has more machines than a running job can use; stop the job, and start it with them",
            ));
        }
        if let Some(twice) = hosts.iter().enumerate().find_map(|(at, host)| hosts[..at].contains(host).then_some(host))
        {
            return Err(Error::job(format!("--hosts has {twice} twice; each process needs its own address")));
        }
        Ok(JobLayout { workers: workers.or(self.workers), hosts })
    }

    /// Returns the layout on these machines, with one process on each. `None` if none of them is the machine of this
    /// process.
    pub fn on(&self, machines: &JobLayout, arguments: &RunArguments) -> Result<Option<Layout>> {
        let own = arguments.number().and_then(|number| arguments.hosts.get(number));
        let Some(number) = own.and_then(|own| machines.index_of_host(own)) else { return Ok(None) };
        let hosts = machines.hosts.clone();
        let key = match (&self.key, hosts.len()) {
            (Some(key), _) => Some(key.clone()),
            (None, 1) => None,
            (None, _) => trust_of(arguments, &hosts, number)?.key().cloned(),
        };
        Ok(Some(Layout {
            numbers: vec![Some(number)],
            workers: machines.workers.or(self.workers),
            processes: Some(hosts.len()),
            hosts,
            key,
            given: machines.id(),
            _ports: None,
        }))
    }
}
