//! TCP connections and UDP datagrams to addresses that the job grants: `grant = { tcp = ["host:port"] }` and `udp =
//! ["host:port"]`. Worlds `source` and `sink` only.
//!
//! Each call waits at most for its timeout and can then be repeated. In tests, the sockets are the machine's, and all are allowed.

mod lines;

pub use lines::Lines;

use std::fmt::{self, Display};
use std::time::Duration;

/// Why an operation failed. In a function that returns [`crate::Error`], `?` converts it to a transient error: the host opens the
/// partition or the sink again after a delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation did not finish within the timeout. No data is lost: repeat the call.
    Timeout,
    /// The peer has closed the connection.
    Closed,
    /// Any other failure: not granted, connection refused, unknown host.
    Failed(String),
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Timeout => "timed out",
            Fault::Closed => "the other side has closed the connection",
            Fault::Failed(why) => why,
        })
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for crate::Error {
    fn from(fault: Fault) -> crate::Error {
        crate::Error::internal(fault)
    }
}

/// A TCP connection, closed when it is dropped.
pub struct Connection {
    socket: host::Tcp,
}

impl Connection {
    /// Connects to an address, for example `example.com:514` or `[::1]:514`.
    pub fn connect(address: &str, timeout: Duration) -> Result<Connection, Fault> {
        let (host, port) = parts(address)?;
        Ok(Connection { socket: host::Tcp::connect(host, port, millis(timeout))? })
    }

    /// Reads the available bytes: at least one, at most `bytes_max`. Waits for the first one.
    pub fn read(&mut self, bytes_max: usize, timeout: Duration) -> Result<Vec<u8>, Fault> {
        self.socket.read(u32::try_from(bytes_max).unwrap_or(u32::MAX), millis(timeout))
    }

    /// Writes all bytes. After a [`Fault::Timeout`], some of them may have been sent.
    pub fn write(&mut self, data: &[u8], timeout: Duration) -> Result<(), Fault> {
        self.socket.write(data, millis(timeout))
    }
}

/// A UDP socket, closed when it is dropped.
pub struct Datagrams {
    socket: host::Udp,
}

/// A received datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Address of the sender, for example `127.0.0.1:5514`.
    pub sender: String,
    /// Payload.
    pub data: Vec<u8>,
}

impl Datagrams {
    /// Listens on an address of this machine, for example `0.0.0.0:514`. Port 0 is any free port.
    pub fn bind(address: &str) -> Result<Datagrams, Fault> {
        let (host, port) = parts(address)?;
        Ok(Datagrams { socket: host::Udp::bind(host, port)? })
    }

    /// Receives the next datagram, truncated to `bytes_max`.
    pub fn receive(&mut self, bytes_max: usize, timeout: Duration) -> Result<Datagram, Fault> {
        self.socket.receive(u32::try_from(bytes_max).unwrap_or(u32::MAX), millis(timeout))
    }

    /// Sends a datagram to an address.
    pub fn send(&mut self, address: &str, data: &[u8]) -> Result<(), Fault> {
        let (host, port) = parts(address)?;
        self.socket.send(host, port, data)
    }
}

/// Splits an address into host and port.
fn parts(address: &str) -> Result<(&str, u16), Fault> {
    let found = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    found.ok_or_else(|| Fault::Failed(format!("`{address}` is not an address; write it as `example.com:514`")))
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The import `net`.
#[cfg(target_arch = "wasm32")]
mod host {
    use super::{Datagram, Fault};
    use crate::bindings::source::millstream::plugin::net;

    fn told(fault: net::Fault) -> Fault {
        match fault {
            net::Fault::Timeout => Fault::Timeout,
            net::Fault::Closed => Fault::Closed,
            net::Fault::Failed(why) => Fault::Failed(why),
        }
    }

    pub struct Tcp(u32);

    impl Tcp {
        pub fn connect(host: &str, port: u16, timeout_ms: u32) -> Result<Tcp, Fault> {
            net::connect(host, port, timeout_ms).map(Tcp).map_err(told)
        }

        pub fn read(&mut self, bytes_max: u32, timeout_ms: u32) -> Result<Vec<u8>, Fault> {
            net::read(self.0, bytes_max, timeout_ms).map_err(told)
        }

        pub fn write(&mut self, data: &[u8], timeout_ms: u32) -> Result<(), Fault> {
            net::write(self.0, data, timeout_ms).map_err(told)
        }
    }

    impl Drop for Tcp {
        fn drop(&mut self) {
            net::close(self.0);
        }
    }

    pub struct Udp(u32);

    impl Udp {
        pub fn bind(host: &str, port: u16) -> Result<Udp, Fault> {
            net::bind(host, port).map(Udp).map_err(told)
        }

        pub fn receive(&mut self, bytes_max: u32, timeout_ms: u32) -> Result<Datagram, Fault> {
            let came = net::receive(self.0, bytes_max, timeout_ms).map_err(told)?;
            Ok(Datagram { sender: came.sender, data: came.data })
        }

        pub fn send(&mut self, host: &str, port: u16, data: &[u8]) -> Result<(), Fault> {
            net::send(self.0, host, port, data).map_err(told)
        }
    }

    impl Drop for Udp {
        fn drop(&mut self) {
            net::close(self.0);
        }
    }
}

/// Outside of a component, in tests: the machine's sockets.
#[cfg(not(target_arch = "wasm32"))]
mod host {
    use super::{Datagram, Fault};
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
    use std::time::Duration;

    fn told(error: std::io::Error) -> Fault {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::Timeout,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::WriteZero => Fault::Closed,
            _ => Fault::Failed(error.to_string()),
        }
    }

    /// The system does not accept a zero timeout.
    fn wait(timeout_ms: u32) -> Duration {
        Duration::from_millis(timeout_ms.max(1).into())
    }

    fn address(host: &str, port: u16) -> Result<SocketAddr, Fault> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut found = (host, port).to_socket_addrs().map_err(told)?;
        found.next().ok_or_else(|| Fault::Failed(format!("`{host}` has no address")))
    }

    pub struct Tcp(TcpStream);

    impl Tcp {
        pub fn connect(host: &str, port: u16, timeout_ms: u32) -> Result<Tcp, Fault> {
            TcpStream::connect_timeout(&address(host, port)?, wait(timeout_ms)).map(Tcp).map_err(told)
        }

        pub fn read(&mut self, bytes_max: u32, timeout_ms: u32) -> Result<Vec<u8>, Fault> {
            self.0.set_read_timeout(Some(wait(timeout_ms))).map_err(told)?;
            let mut bytes = vec![0; bytes_max.clamp(1, 1 << 20) as usize];
            match self.0.read(&mut bytes).map_err(told)? {
                0 => Err(Fault::Closed),
                count => {
                    bytes.truncate(count);
                    Ok(bytes)
                }
            }
        }

        pub fn write(&mut self, data: &[u8], timeout_ms: u32) -> Result<(), Fault> {
            self.0.set_write_timeout(Some(wait(timeout_ms))).map_err(told)?;
            self.0.write_all(data).map_err(told)
        }
    }

    pub struct Udp(UdpSocket);

    impl Udp {
        pub fn bind(host: &str, port: u16) -> Result<Udp, Fault> {
            UdpSocket::bind(address(host, port)?).map(Udp).map_err(told)
        }

        pub fn receive(&mut self, bytes_max: u32, timeout_ms: u32) -> Result<Datagram, Fault> {
            self.0.set_read_timeout(Some(wait(timeout_ms))).map_err(told)?;
            let mut data = vec![0; bytes_max.clamp(1, 1 << 16) as usize];
            let (count, sender) = self.0.recv_from(&mut data).map_err(told)?;
            data.truncate(count);
            Ok(Datagram { sender: sender.to_string(), data })
        }

        pub fn send(&mut self, host: &str, port: u16, data: &[u8]) -> Result<(), Fault> {
            self.0.send_to(data, address(host, port)?).map(drop).map_err(told)
        }
    }
}
