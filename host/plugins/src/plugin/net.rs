//! Connections and datagrams of a plugin, to and from addresses that the job grants. Sockets belong to an instance, and are closed with it.

use super::bindings::{WitDatagram, WitNetFault};
use super::http::is_below;
use super::near::is_near;
use super::secured::{Secured, TlsFailure};
use super::stage::Granted;
use crate::limits::{PLUGIN_NET_READ_BYTES_MAX, PLUGIN_NET_WRITE_BYTES_MAX};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

/// The sockets of one instance.
#[derive(Default)]
pub struct Net {
    sockets: BTreeMap<u32, Socket>,
    last: u32,
    /// The first permanent denial: what the job does not grant, or a server whose identity is wrong.
    denied: Option<String>,
}

impl Net {
    /// Takes the denial of this call; the message says what to do.
    pub fn take_denied(&mut self) -> Option<String> {
        self.denied.take()
    }

    /// Denies something permanently. The call fails with this message, however the plugin handles it.
    fn deny(&mut self, message: String) -> WitNetFault {
        self.denied.get_or_insert_with(|| message.clone());
        WitNetFault::Failed(message)
    }
}

enum Socket {
    Tcp(TcpStream),
    /// The plugin sees what is inside.
    Tls(Box<Secured>),
    Udp(UdpSocket),
}

/// A connection, whatever it is carried by.
trait ByteStream: Read + Write {
    /// Sets how long reads and writes wait; zero: not at all.
    fn waits(&self, time: Duration) -> std::io::Result<()>;
}

impl ByteStream for TcpStream {
    fn waits(&self, time: Duration) -> std::io::Result<()> {
        let wait = Some(waits(time));
        self.set_read_timeout(wait)?;
        self.set_write_timeout(wait)?;
        self.set_nonblocking(time.is_zero())
    }
}

impl ByteStream for Secured {
    fn waits(&self, time: Duration) -> std::io::Result<()> {
        self.sock.waits(time)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Socket::Tls(stream) = self {
            // Tells the peer that the stream is complete. It is not waited for.
            stream.conn.send_close_notify();
            let _ = stream.sock.set_nonblocking(true);
            let _ = stream.conn.write_tls(&mut stream.sock);
        }
    }
}

/// A call of an import.
pub struct NetCall<'a> {
    /// The sockets.
    pub net: &'a mut Net,
    /// The job's grants; `None` if no requests are allowed now.
    pub grant: Option<&'a Granted>,
    /// Maximum number of sockets.
    pub sockets_max: u64,
}

impl NetCall<'_> {
    /// Connects to the first address of the name that accepts.
    pub fn connect(&mut self, host: &str, port: u16, time: Duration) -> Result<u32, WitNetFault> {
        // Where both are granted what is safer is meant.
        let tls = self.grant.and_then(|grant| grant.tls.as_ref()).filter(|tls| grants(&tls.servers, host, port));
        let granted = |grant: &Granted| grants(&grant.tcp, host, port);
        self.check(granted, || format!("a connection to {host}:{port}"), "tcp", host, port)?;
        let end = Instant::now() + time;
        let mut last = WitNetFault::Failed(format!("`{host}` has no address"));
        for address in self.addresses(host, port, |grant| &grant.tcp)? {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WitNetFault::Timeout);
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    // A plugin that writes in small pieces waits for responses.
                    let _ = stream.set_nodelay(true);
                    let Some(tls) = tls else { return self.keep(Socket::Tcp(stream)) };
                    let left = end.saturating_duration_since(Instant::now());
                    return match tls.secure(stream, bare(host), left) {
                        Ok(secured) => self.keep(Socket::Tls(Box::new(secured))),
                        Err(TlsFailure::Broken(error)) => Err(fault(&error)),
                        Err(TlsFailure::Rejected(message)) => Err(self.net.deny(message)),
                    };
                }
                Err(error) => {
                    last = match fault(&error) {
                        // The system's message does not name the address.
                        WitNetFault::Failed(message) => WitNetFault::Failed(format!("{host}:{port}: {message}")),
                        other => other,
                    }
                }
            }
        }
        Err(last)
    }

    /// Reads available bytes.
    pub fn read(&mut self, socket: u32, bytes_max: u32, time: Duration) -> Result<Vec<u8>, WitNetFault> {
        let stream = self.tcp(socket)?;
        let mut bytes = vec![0; (bytes_max.clamp(1, PLUGIN_NET_READ_BYTES_MAX)) as usize];
        stream.waits(time).map_err(|error| fault(&error))?;
        match stream.read(&mut bytes) {
            Ok(0) => Err(WitNetFault::Closed),
            Ok(count) => {
                bytes.truncate(count);
                Ok(bytes)
            }
            Err(error) => Err(fault(&error)),
        }
    }

    /// Writes all of it.
    pub fn write(&mut self, socket: u32, data: &[u8], time: Duration) -> Result<(), WitNetFault> {
        if data.len() > PLUGIN_NET_WRITE_BYTES_MAX {
            let message =
                format!("{} bytes in one write; at most {PLUGIN_NET_WRITE_BYTES_MAX} are allowed", data.len());
            return Err(WitNetFault::Failed(message));
        }
        let stream = self.tcp(socket)?;
        let end = Instant::now() + time;
        let mut rest = data;
        while !rest.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WitNetFault::Timeout);
            }
            stream.waits(left).map_err(|error| fault(&error))?;
            match stream.write(rest) {
                Ok(0) => return Err(WitNetFault::Closed),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(fault(&error)),
            }
        }
        // With TLS it may wait on this side.
        stream.flush().map_err(|error| fault(&error))
    }

    /// Listens for datagrams.
    pub fn bind(&mut self, host: &str, port: u16) -> Result<u32, WitNetFault> {
        let granted = |grant: &Granted| grants(&grant.udp, host, port);
        self.check(granted, || format!("listening for datagrams at {host}:{port}"), "udp", host, port)?;
        let addresses = resolve(host, port)?;
        let socket = UdpSocket::bind(addresses.as_slice()).map_err(|error| fault(&error))?;
        self.keep(Socket::Udp(socket))
    }

    /// Takes the next datagram.
    pub fn receive(&mut self, socket: u32, bytes_max: u32, time: Duration) -> Result<WitDatagram, WitNetFault> {
        let udp = self.udp(socket)?;
        let set = udp.set_read_timeout(Some(waits(time))).and_then(|()| udp.set_nonblocking(time.is_zero()));
        set.map_err(|error| fault(&error))?;
        let mut data = vec![0; (bytes_max.clamp(1, 1 << 16)) as usize];
        let (count, sender) = udp.recv_from(&mut data).map_err(|error| fault(&error))?;
        data.truncate(count);
        Ok(WitDatagram { sender: sender.to_string(), data })
    }

    /// Sends a datagram.
    pub fn send(&mut self, socket: u32, host: &str, port: u16, data: &[u8]) -> Result<(), WitNetFault> {
        let granted = |grant: &Granted| grants(&grant.udp, host, port);
        self.check(granted, || format!("a datagram to {host}:{port}"), "udp", host, port)?;
        let addresses = self.addresses(host, port, |grant| &grant.udp)?;
        let udp = self.udp(socket)?;
        // The last wait of a `receive` may have been none.
        let sent = udp.set_nonblocking(false).and_then(|()| udp.send_to(data, addresses.as_slice()));
        sent.map(drop).map_err(|error| fault(&error))
    }

    /// Closes a socket.
    pub fn close(&mut self, socket: u32) {
        self.net.sockets.remove(&socket);
    }

    fn check(
        &mut self,
        granted: impl Fn(&Granted) -> bool,
        what: impl Fn() -> String,
        key: &str,
        host: &str,
        port: u16,
    ) -> Result<(), WitNetFault> {
        match self.grant {
            None => Err(self.net.deny(format!("{} is not allowed in `describe`", what()))),
            Some(grant) if granted(grant) => Ok(()),
            Some(_) => {
                let message = format!(
                    "{} is not granted; the job grants it with grant = {{ {key} = [\"{host}:{port}\"] }}",
                    what()
                );
                Err(self.net.deny(message))
            }
        }
    }

    /// The addresses of a granted name, looked up once for each use: what is checked is what is connected to. The name's owner
    /// decides about them, so none may lead to this machine unless the job says so.
    fn addresses(
        &mut self,
        host: &str,
        port: u16,
        list: impl Fn(&Granted) -> &Vec<String>,
    ) -> Result<Vec<SocketAddr>, WitNetFault> {
        let found = resolve(host, port)?;
        if bare(host).parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost") {
            return Ok(found);
        }
        let granted = |address: &SocketAddr| {
            self.grant.is_some_and(|grant| grants(list(grant), &address.ip().to_string(), address.port()))
        };
        match found.iter().find(|address| is_near(address.ip()) && !granted(address)) {
            None => Ok(found),
            Some(address) => Err(self.net.deny(format!(
                "`{host}` resolves to {}, which is not an address of another machine; to allow that, grant \
                 \"{address}\" as well",
                address.ip()
            ))),
        }
    }

    fn keep(&mut self, socket: Socket) -> Result<u32, WitNetFault> {
        if self.net.sockets.len() as u64 >= self.sockets_max {
            let message = format!("{} sockets are open, which is the maximum (`limits.handles`)", self.sockets_max);
            return Err(WitNetFault::Failed(message));
        }
        let Some(number) = self.net.last.checked_add(1) else {
            return Err(WitNetFault::Failed("too many sockets were opened".into()));
        };
        self.net.last = number;
        self.net.sockets.insert(number, socket);
        Ok(number)
    }

    fn tcp(&mut self, socket: u32) -> Result<&mut dyn ByteStream, WitNetFault> {
        match self.net.sockets.get_mut(&socket) {
            Some(Socket::Tcp(stream)) => Ok(stream),
            Some(Socket::Tls(stream)) => Ok(&mut **stream),
            Some(Socket::Udp(_)) => Err(WitNetFault::Failed("this socket is for datagrams".into())),
            None => Err(WitNetFault::Closed),
        }
    }

    fn udp(&mut self, socket: u32) -> Result<&mut UdpSocket, WitNetFault> {
        match self.net.sockets.get_mut(&socket) {
            Some(Socket::Udp(udp)) => Ok(udp),
            Some(Socket::Tcp(_) | Socket::Tls(_)) => Err(WitNetFault::Failed("this socket is a connection".into())),
            None => Err(WitNetFault::Closed),
        }
    }
}

/// Whether a list of `host:port` has this host and port. `*.example.com` covers all names below it.
fn grants(list: &[String], host: &str, port: u16) -> bool {
    let host = bare(host).to_ascii_lowercase();
    list.iter().filter_map(|granted| granted.rsplit_once(':')).any(|(of, at)| {
        let of = bare(of).to_ascii_lowercase();
        let same = of.strip_prefix("*.").map_or(of == host, |above| is_below(&host, above));
        same && at.parse() == Ok(port)
    })
}

/// An address of version 6 without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, WitNetFault> {
    let found = (bare(host), port).to_socket_addrs();
    found.map(Iterator::collect).map_err(|error| WitNetFault::Failed(format!("`{host}` cannot be resolved: {error}")))
}

/// Rounds a wait for the system, which does not accept zero and may round up a few milliseconds. Zero therefore also means non-blocking:
/// otherwise a sender as fast as the rounding would block a plugin that wants only available bytes.
fn waits(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}

fn fault(error: &std::io::Error) -> WitNetFault {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => WitNetFault::Timeout,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => WitNetFault::Closed,
        _ => WitNetFault::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn granted(tcp: &[String], udp: &[String]) -> Granted {
        Granted { tcp: tcp.to_vec(), udp: udp.to_vec(), ..Granted::default() }
    }

    fn call<'a>(net: &'a mut Net, grant: &'a Granted) -> NetCall<'a> {
        NetCall { net, grant: Some(grant), sockets_max: 2 }
    }

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn names_and_ports_are_granted_as_they_are_written() {
        let list = ["a.example:1", "*.example.org:443", "[::1]:7", "127.0.0.1:5"].map(String::from);
        for (host, port) in
            [("a.example", 1), ("A.EXAMPLE", 1), ("b.example.org", 443), ("::1", 7), ("[::1]", 7), ("127.0.0.1", 5)]
        {
            assert!(grants(&list, host, port), "{host}:{port}");
        }
        for (host, port) in [
            ("a.example", 2),
            ("b.a.example", 1),
            ("example.org", 443),
            ("xexample.org", 443),
            (".example.org", 443),
            ("127.0.0.1", 6),
            ("", 1),
        ] {
            assert!(!grants(&list, host, port), "{host}:{port}");
        }
    }

    #[test]
    fn a_connection_reads_writes_and_ends() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let grant = granted(&[format!("127.0.0.1:{port}")], &[]);
        let mut net = Net::default();
        let rejected = call(&mut net, &grant).connect("127.0.0.1", port.wrapping_add(1), LONG);
        assert!(matches!(rejected, Err(WitNetFault::Failed(message)) if message.contains("not granted")));
        let unused_port = NetCall { net: &mut net, grant: None, sockets_max: 2 }.connect("127.0.0.1", port, LONG);
        assert!(matches!(unused_port, Err(WitNetFault::Failed(message)) if message.contains("`describe`")));
        let socket = call(&mut net, &grant).connect("127.0.0.1", port, LONG).unwrap();
        let (mut other, _) = server.accept().unwrap();
        assert_eq!(call(&mut net, &grant).read(socket, 9, SHORT), Err(WitNetFault::Timeout));
        other.write_all(b"abc").unwrap();
        assert_eq!(call(&mut net, &grant).read(socket, 2, LONG), Ok(b"ab".to_vec()));
        assert_eq!(call(&mut net, &grant).write(socket, b"xyz", LONG), Ok(()));
        let mut received = [0; 3];
        other.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"xyz");
        drop(other);
        assert_eq!(call(&mut net, &grant).read(socket, 2, LONG), Ok(b"c".to_vec()));
        assert_eq!(call(&mut net, &grant).read(socket, 2, LONG), Err(WitNetFault::Closed));
        call(&mut net, &grant).connect("127.0.0.1", port, LONG).unwrap();
        let third = call(&mut net, &grant).connect("127.0.0.1", port, LONG);
        assert!(matches!(third, Err(WitNetFault::Failed(message)) if message.contains("limits.handles")));
        call(&mut net, &grant).close(socket);
        assert_eq!(call(&mut net, &grant).write(socket, b"x", LONG), Err(WitNetFault::Closed));
        call(&mut net, &grant).connect("127.0.0.1", port, LONG).unwrap();
    }

    #[test]
    fn datagrams_come_and_go_where_they_are_granted() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = other.local_addr().unwrap();
        let grant = granted(&[], &["127.0.0.1:0".into(), to.to_string()]);
        let mut net = Net::default();
        let socket = call(&mut net, &grant).bind("127.0.0.1", 0).unwrap();
        assert_eq!(call(&mut net, &grant).receive(socket, 9, SHORT), Err(WitNetFault::Timeout));
        call(&mut net, &grant).send(socket, "127.0.0.1", to.port(), b"ping").unwrap();
        let mut received = [0; 9];
        let (count, from) = other.recv_from(&mut received).unwrap();
        assert_eq!(&received[..count], b"ping");
        other.send_to(b"a long answer", from).unwrap();
        let came = call(&mut net, &grant).receive(socket, 6, LONG).unwrap();
        assert_eq!((came.sender, came.data), (to.to_string(), b"a long".to_vec()));
        let rejected = call(&mut net, &grant).send(socket, "127.0.0.1", 1, b"x");
        assert!(matches!(rejected, Err(WitNetFault::Failed(message)) if message.contains("not granted")));
        assert!(matches!(call(&mut net, &grant).read(socket, 1, SHORT), Err(WitNetFault::Failed(_))));
    }

    /// Otherwise a plugin that reads all available bytes would never finish while a sender is as fast as the system's shortest wait.
    #[test]
    fn who_waits_for_nothing_hears_at_once_that_nothing_is_there() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let grant = granted(&[format!("127.0.0.1:{port}")], &["127.0.0.1:0".into()]);
        let mut net = Net::default();
        let udp = call(&mut net, &grant).bind("127.0.0.1", 0).unwrap();
        let tcp = call(&mut net, &grant).connect("127.0.0.1", port, LONG).unwrap();
        let began = Instant::now();
        for _ in 0..1000 {
            assert_eq!(call(&mut net, &grant).receive(udp, 9, Duration::ZERO), Err(WitNetFault::Timeout));
            assert_eq!(call(&mut net, &grant).read(tcp, 9, Duration::ZERO), Err(WitNetFault::Timeout));
        }
        let nothing = began.elapsed();
        let began = Instant::now();
        for _ in 0..20 {
            assert_eq!(call(&mut net, &grant).receive(udp, 9, SHORT), Err(WitNetFault::Timeout));
            assert_eq!(call(&mut net, &grant).read(tcp, 9, SHORT), Err(WitNetFault::Timeout));
        }
        // 2,000 waits of nothing, and 40 of 20 ms.
        assert!(nothing < began.elapsed(), "{nothing:?}");
    }
}
