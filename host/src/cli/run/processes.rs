//! Determines the number of this process, the addresses of all processes of the job, and the key with which they
//! authenticate.

use super::arguments::{ProcessNumber, RunArguments};
use millstream_base::error::{Error, Result};
use millstream_base::regular;
use millstream_runtime::{ClusterKey, PeerTrust, name_in};
use std::net::IpAddr;
use std::path::Path;

/// Maximum number of processes of a job that are handled.
pub(in crate::cli) const PROCESSES_MAX: usize = 1_000;
/// Maximum size of a file of addresses.
const HOSTS_BYTES_MAX: u64 = 1 << 20;

/// Reads the file of addresses, if any, counts them, and finds this machine's name among them. Afterwards the arguments
/// contain the results.
pub(super) fn settle(arguments: &mut RunArguments) -> Result<()> {
    arguments.hosts = hosts_of(std::mem::take(&mut arguments.hosts))?;
    if arguments.processes.is_none() && !arguments.hosts.is_empty() {
        arguments.processes = Some(arguments.hosts.len());
    }
    let of_several = arguments.process.is_some() || arguments.cluster_key.is_some() || arguments.cluster_tls.is_some();
    if arguments.processes.is_none() && of_several {
        return Err(Error::job(
            "--process, --cluster-key and --cluster-tls are for jobs with several processes; set --processes or \
             --hosts",
        ));
    }
    if arguments.process == Some(ProcessNumber::Auto) {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(|error| {
            Error::environment(format!("--process auto: this machine's name cannot be read: {error}"))
        })?;
        arguments.process = Some(ProcessNumber::Number(index_of_machine(name.trim(), &arguments.hosts)?));
    }
    Ok(())
}

/// Returns the given addresses, or those in the given file.
pub(in crate::cli) fn hosts_of(named: Vec<String>) -> Result<Vec<String>> {
    match named.first().and_then(|first| first.strip_prefix('@')) {
        Some(file) if named.len() == 1 => hosts_in(Path::new(file)),
        _ => Ok(named),
    }
}

/// Returns the trust of process `process` at these addresses in the others, see [`trust`].
pub(in crate::cli) fn trust_of(arguments: &RunArguments, hosts: &[String], process: usize) -> Result<PeerTrust> {
    trust(arguments, hosts, process, None)
}

/// Returns the addresses in a file: one per line, or several with commas. `#` starts a comment.
fn hosts_in(file: &Path) -> Result<Vec<String>> {
    let invalid = |why: String| Error::job(format!("--hosts: {}: {why}", file.display()));
    let bytes = regular::read_at_most(file, HOSTS_BYTES_MAX).map_err(|error| invalid(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8".into()))?;
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(hosts, _)| hosts));
    let hosts: Vec<String> = lines
        .flat_map(|line| line.split([',', ' ', '\t', '\r']))
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect();
    if hosts.is_empty() {
        return Err(invalid("it has no address; write one per line, for example `a.example:2101`".into()));
    }
    Ok(hosts)
}

/// Returns the index of the address of the machine with this name. A full match is preferred to one up to the first
/// dot.
fn index_of_machine(name: &str, hosts: &[String]) -> Result<usize> {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let indices = |is_it: &dyn Fn(&str) -> bool| {
        let found = hosts.iter().zip(0..).filter(|(host, _)| is_it(name_in(host)));
        found.map(|(_, index)| index).collect::<Vec<usize>>()
    };
    let mut found = indices(&|host| host.eq_ignore_ascii_case(name));
    if found.is_empty() {
        found = indices(&|host| host.parse::<IpAddr>().is_err() && first(host) == first(name));
    }
    match found[..] {
        [index] => Ok(index),
        [] => Err(Error::job(format!(
            "--process auto: --hosts has no address of this machine, whose name is {name}; add it, or set --process NUMBER"
        ))),
        [one, other, ..] => Err(Error::job(format!(
            "--process auto: processes {one} and {other} of --hosts are both on this machine, whose name is {name}; set \
             --process NUMBER"
        ))),
    }
}

/// Returns how this process authenticates the others. `passed`: the key that a supervisor has passed to it.
pub(super) fn trust(
    arguments: &RunArguments,
    hosts: &[String],
    process: usize,
    passed: Option<ClusterKey>,
) -> Result<PeerTrust> {
    let key = match (passed, &arguments.cluster_key) {
        (None, Some(file)) => Some(ClusterKey::read(file)?),
        (passed, _) => passed,
    };
    if let Some(dir) = &arguments.cluster_tls {
        let name = hosts.get(process).map_or("", |host| name_in(host));
        return PeerTrust::with_certificates(dir, name, key);
    }
    key.map_or_else(|| key_of_user(arguments, hosts), Ok).and_then(PeerTrust::with_key)
}

/// Returns the key for processes that are started separately without other authentication. On one machine it is the
/// user's key; other machines cannot have that.
fn key_of_user(arguments: &RunArguments, hosts: &[String]) -> Result<ClusterKey> {
    let listens = arguments.listen.iter().map(|host| ("--listen", host));
    let mut named = hosts.iter().map(|host| ("--hosts", host)).chain(listens);
    match named.find(|(_, host)| !is_loopback(host)) {
        None => ClusterKey::of_user(),
        Some((option, host)) => Err(Error::job(format!(
            "{option} names {host}, which other machines may reach, but --cluster-key is missing: the processes of \
             a job authenticate with a key or with certificates (--cluster-tls); create a key with `(umask 077; \
             openssl rand -hex 32 > cluster.key)`, copy it to all machines, and start each process with \
             --cluster-key cluster.key"
        ))),
    }
}

/// Returns whether only this machine can connect to such an address, according to its text.
fn is_loopback(host: &str) -> bool {
    let name = name_in(host);
    name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Returns the number of this process and the addresses of all processes of the job, or `None` for a single process.
pub(super) fn process_and_hosts(
    arguments: &RunArguments,
    process: Option<usize>,
) -> Result<Option<(usize, Vec<String>)>> {
    let Some(processes) = arguments.processes else { return Ok(None) };
    let hosts = if arguments.hosts.is_empty() {
        (0..processes.min(PROCESSES_MAX)).map(|process| format!("127.0.0.1:{}", 2101 + process)).collect()
    } else {
        arguments.hosts.clone()
    };
    if processes == 0 || hosts.len() != processes {
        return Err(Error::job(format!(
            "--processes is {processes}, but --hosts has {} addresses; write one per process",
            hosts.len()
        )));
    }
    let Some(process) = process.or((processes == 1).then_some(0)) else {
        return Err(Error::job(format!(
            "--processes is {processes}, but --process is missing: the number of this process, from 0; only a job \
             with [checkpoint] starts all its processes automatically"
        )));
    };
    if process >= processes {
        return Err(Error::job(format!(
            "--process is {process}, but the job has {processes} processes; the last is {}",
            processes - 1
        )));
    }
    Ok((processes > 1).then_some((process, hosts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(list: &str) -> Vec<String> {
        list.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn a_process_finds_its_machine_among_the_addresses() {
        let pods = hosts("shop-0.shop:2101,shop-1.shop:2101,shop-10.shop:2101");
        assert_eq!(index_of_machine("shop-1", &pods).unwrap(), 1);
        assert_eq!(index_of_machine("shop-10.shop.default.svc", &pods).unwrap(), 2);
        assert_eq!(index_of_machine("b.example", &hosts("b.other:1,b.example:1")).unwrap(), 1);
        let invalid = |name: &str, list: &str| index_of_machine(name, &hosts(list)).unwrap_err().message;
        assert!(invalid("shop-2", "shop-0:1,shop-1:1").contains("no address of this machine, whose name is shop-2"));
        assert!(invalid("a", "a:1,a:2").contains("processes 0 and 1 of --hosts are both on this machine"));
        assert!(invalid("10", "10.0.0.1:1,10.0.0.2:1").contains("no address of this machine"));
    }

    #[test]
    fn addresses_stand_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hosts");
        std::fs::write(&file, "# ours\na:1\n\n b:2, c:3 # the new one\r\n").unwrap();
        assert_eq!(hosts_in(&file).unwrap(), hosts("a:1,b:2,c:3"));
        std::fs::write(&file, "# none\n").unwrap();
        assert!(hosts_in(&file).unwrap_err().message.contains("it has no address"));
        assert!(hosts_in(dir.path()).is_err());
    }

    #[test]
    fn what_only_this_machine_can_reach_is_known_by_its_text() {
        let inside = ["127.0.0.1:2101", "127.9.9.9:1", "localhost:2101", "[::1]:2101"];
        assert!(inside.iter().all(|host| is_loopback(host)));
        let outside = [
            "0.0.0.0:2101",
            "[::]:2101",
            "10.0.0.1:2101",
            "localhost.example.com:1",
            "127.0.0.1.example.com:1",
            "a",
            "",
        ];
        assert!(!outside.iter().any(|host| is_loopback(host)));
    }
}
