//! Which of the processes of a job this one is, where all of them are, and the key by which they know each other.

use super::arguments::{ProcessNumber, RunArguments};
use millstream_base::error::{Error, Result};
use millstream_base::regular;
use millstream_runtime::{ClusterKey, PeerTrust, name_in};
use std::net::IpAddr;
use std::path::Path;

/// Processes of a job that are looked at, whatever somebody asks for.
pub(in crate::cli) const PROCESSES_MAX: usize = 1_000;
/// Bytes of a file of addresses.
const HOSTS_BYTES_MAX: u64 = 1 << 20;

/// Reads the file of addresses where there is one, counts them, and looks for this machine's name among them, so that afterwards
/// the arguments say all of that themselves.
pub(super) fn settle(arguments: &mut RunArguments) -> Result<()> {
    arguments.hosts = hosts_of(std::mem::take(&mut arguments.hosts))?;
    if arguments.processes.is_none() && !arguments.hosts.is_empty() {
        arguments.processes = Some(arguments.hosts.len());
    }
    let of_several = arguments.process.is_some() || arguments.cluster_key.is_some() || arguments.cluster_tls.is_some();
    if arguments.processes.is_none() && of_several {
        return Err(Error::job(
            "--process, --cluster-key and --cluster-tls are for jobs of several processes, and neither --processes nor --hosts says how many \
             there are",
        ));
    }
    if arguments.process == Some(ProcessNumber::Auto) {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(|error| {
            Error::environment(format!("--process auto: this machine's name cannot be read: {error}"))
        })?;
        arguments.process = Some(ProcessNumber::Number(place_of(name.trim(), &arguments.hosts)?));
    }
    Ok(())
}

/// The addresses that somebody named, or those in the file that was named instead.
pub(in crate::cli) fn hosts_of(named: Vec<String>) -> Result<Vec<String>> {
    match named.first().and_then(|first| first.strip_prefix('@')) {
        Some(file) if named.len() == 1 => hosts_in(Path::new(file)),
        _ => Ok(named),
    }
}

/// By what process `process` at these addresses knows the others, as [`trust`] says.
pub(in crate::cli) fn trust_of(arguments: &RunArguments, hosts: &[String], process: usize) -> Result<PeerTrust> {
    trust(arguments, hosts, process, None)
}

/// The addresses in a file: one a line, or several with commas; what stands behind `#` is for people.
fn hosts_in(file: &Path) -> Result<Vec<String>> {
    let wrong = |why: String| Error::job(format!("--hosts: {}: {why}", file.display()));
    let bytes = regular::read_at_most(file, HOSTS_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".into()))?;
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(hosts, _)| hosts));
    let hosts: Vec<String> = lines
        .flat_map(|line| line.split([',', ' ', '\t', '\r']))
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect();
    if hosts.is_empty() {
        return Err(wrong("it has no address; write one per line, for example `a.example:2101`".into()));
    }
    Ok(hosts)
}

/// Which of these addresses is that of the machine of this name: the one with the name as a whole, or else up to its first dot.
fn place_of(name: &str, hosts: &[String]) -> Result<usize> {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let places = |is_it: &dyn Fn(&str) -> bool| {
        let found = hosts.iter().zip(0..).filter(|(host, _)| is_it(name_in(host)));
        found.map(|(_, place)| place).collect::<Vec<usize>>()
    };
    let mut found = places(&|host| host.eq_ignore_ascii_case(name));
    if found.is_empty() {
        found = places(&|host| host.parse::<IpAddr>().is_err() && first(host) == first(name));
    }
    match found[..] {
        [place] => Ok(place),
        [] => Err(Error::job(format!(
            "--process auto: --hosts has no address of this machine, whose name is {name}; add it, or set --process NUMBER"
        ))),
        [one, other, ..] => Err(Error::job(format!(
            "--process auto: processes {one} and {other} of --hosts are both on this machine, whose name is {name}; set \
             --process NUMBER"
        ))),
    }
}

/// By what this process knows the others. `passed`: the key that a supervisor has passed to it.
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
    if let Some(folder) = &arguments.cluster_tls {
        let name = hosts.get(process).map_or("", |host| name_in(host));
        return PeerTrust::with_certificates(folder, name, key);
    }
    key.map_or_else(|| key_of_user(arguments, hosts), Ok).and_then(PeerTrust::with_key)
}

/// The key of processes that are started one by one, where nothing else is named. On one machine that of the user will do; others
/// cannot have it.
fn key_of_user(arguments: &RunArguments, hosts: &[String]) -> Result<ClusterKey> {
    let listens = arguments.listen.iter().map(|host| ("--listen", host));
    let mut named = hosts.iter().map(|host| ("--hosts", host)).chain(listens);
    match named.find(|(_, host)| !is_loopback(host)) {
        None => ClusterKey::of_user(),
        Some((option, host)) => Err(Error::job(format!(
            "{option} names {host}, which others may reach, and --cluster-key is missing: the processes of a job \
             authenticate with a key or with certificates (--cluster-tls); create a key with `(umask 077; openssl rand -hex 32 > \
             cluster.key)`, copy it to all machines, and start each process with --cluster-key cluster.key"
        ))),
    }
}

/// Whether only this machine can connect to such an address, as far as its text tells.
fn is_loopback(host: &str) -> bool {
    let name = name_in(host);
    name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The number of this process, being `process`, and the addresses of all that run the job together; `None`: one alone.
pub(super) fn place(arguments: &RunArguments, process: Option<usize>) -> Result<Option<(usize, Vec<String>)>> {
    let Some(processes) = arguments.processes else { return Ok(None) };
    let hosts = if arguments.hosts.is_empty() {
        (0..processes.min(PROCESSES_MAX)).map(|process| format!("127.0.0.1:{}", 2101 + process)).collect()
    } else {
        arguments.hosts.clone()
    };
    if processes == 0 || hosts.len() != processes {
        return Err(Error::job(format!(
            "--processes is {processes}, and --hosts names {} addresses; name one for each process",
            hosts.len()
        )));
    }
    let Some(process) = process.or((processes == 1).then_some(0)) else {
        return Err(Error::job(format!(
            "--processes is {processes}, and --process is missing: the number of this process, from 0; only a job with \
             [checkpoint] starts all its processes automatically"
        )));
    };
    if process >= processes {
        return Err(Error::job(format!(
            "--process is {process}, and there are {processes} processes; the last is {}",
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
        assert_eq!(place_of("shop-1", &pods).unwrap(), 1);
        assert_eq!(place_of("shop-10.shop.default.svc", &pods).unwrap(), 2);
        assert_eq!(place_of("b.example", &hosts("b.other:1,b.example:1")).unwrap(), 1);
        let wrong = |name: &str, list: &str| place_of(name, &hosts(list)).unwrap_err().message;
        assert!(wrong("shop-2", "shop-0:1,shop-1:1").contains("no address of this machine, whose name is shop-2"));
        assert!(wrong("a", "a:1,a:2").contains("processes 0 and 1 of --hosts are both on this machine"));
        assert!(wrong("10", "10.0.0.1:1,10.0.0.2:1").contains("no address of this machine"));
    }

    #[test]
    fn addresses_stand_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        std::fs::write(&file, "# ours\na:1\n\n b:2, c:3 # the new one\r\n").unwrap();
        assert_eq!(hosts_in(&file).unwrap(), hosts("a:1,b:2,c:3"));
        std::fs::write(&file, "# none\n").unwrap();
        assert!(hosts_in(&file).unwrap_err().message.contains("it has no address"));
        assert!(hosts_in(folder.path()).is_err());
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
