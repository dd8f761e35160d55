//! Ports for the processes of a job that all run on this machine, if none are configured.

use millstream_base::error::{Error, Result};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};

/// Free ports of this machine. They stay bound while this is held, so the system assigns them to no other program. A
/// process that knows such a port can still listen on it, repeatedly.
pub struct LocalPorts(Vec<Socket>);

impl LocalPorts {
    /// Reserves `count` ports.
    pub fn reserve(count: usize) -> Result<LocalPorts> {
        let failed = |error| Error::environment(format!("no free port for a process of the job: {error}"));
        (0..count).map(|_| bind_free_port()).collect::<Result<Vec<_>, _>>().map(LocalPorts).map_err(failed)
    }

    /// Returns the addresses, for example `127.0.0.1:40001`.
    pub fn hosts(&self) -> Result<Vec<String>> {
        let host = |socket: &Socket| -> std::io::Result<Option<String>> {
            Ok(socket.local_addr()?.as_socket().map(|address| address.to_string()))
        };
        let hosts: std::io::Result<Vec<String>> = self.0.iter().filter_map(|socket| host(socket).transpose()).collect();
        hosts.map_err(|error| Error::environment(format!("a port of this machine is unknown: {error}")))
    }
}

/// Returns a socket bound to a free port without listening. A later listener shares the port, as both set
/// `SO_REUSEADDR`.
fn bind_free_port() -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    // Set only after binding: otherwise the system could assign a port that is shared with another socket.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::LocalPorts;
    use std::net::TcpListener;

    #[test]
    fn who_knows_a_port_can_listen_there_and_others_are_given_none_of_them() {
        let (ours, theirs) = (LocalPorts::reserve(20).unwrap(), LocalPorts::reserve(20).unwrap());
        let (hosts, others) = (ours.hosts().unwrap(), theirs.hosts().unwrap());
        assert!(hosts.iter().all(|host| !others.contains(host)));
        for _ in 0..3 {
            let listening: Vec<_> = hosts.iter().map(|host| TcpListener::bind(host).unwrap()).collect();
            assert_eq!(listening.len(), 20);
        }
    }
}
