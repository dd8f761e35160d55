//! Ports for the processes of a job that are all started on this machine, where nobody says which.

use millstream_base::error::{Error, Result};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};

/// Free ports of this machine. As long as this is held they are bound, so that nobody else is given one; who knows of them can
/// listen there all the same, again and again.
pub struct LocalPorts(Vec<Socket>);

impl LocalPorts {
    /// So many of them.
    pub fn reserve(count: usize) -> Result<LocalPorts> {
        let failed = |error| Error::environment(format!("no free port for a process of the job: {error}"));
        (0..count).map(|_| bound()).collect::<Result<Vec<_>, _>>().map(LocalPorts).map_err(failed)
    }

    /// Their addresses, `127.0.0.1:40001`.
    pub fn hosts(&self) -> Result<Vec<String>> {
        let host = |socket: &Socket| -> std::io::Result<Option<String>> {
            Ok(socket.local_addr()?.as_socket().map(|address| address.to_string()))
        };
        let hosts: std::io::Result<Vec<String>> = self.0.iter().filter_map(|socket| host(socket).transpose()).collect();
        hosts.map_err(|error| Error::environment(format!("a port of this machine is not known: {error}")))
    }
}

/// A socket with a port of its own on which nobody listens: who listens there later shares it, as both say that they would.
fn bound() -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    // Not before: with it the system would give a port that another one shares.
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
