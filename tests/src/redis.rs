//! A real Redis server in its own directory. It keeps what it has confirmed when it is killed.

use crate::{Process, free_port, root};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A Kinesis server on a port of 127.0.0.1. It exits when this is dropped.
pub struct Redis {
    dir: TempDir,
    port: u16,
    /// Options of the server.
    options: Vec<String>,
    process: Option<Process>,
}

/// A server's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisReply {
    /// A null response.
    None,
    /// A number.
    Number(i64),
    /// Text, of any bytes.
    Bytes(Vec<u8>),
    /// Several responses.
    List(Vec<RedisReply>),
    /// An error.
    Error(String),
}

impl Redis {
    /// Starts a server and waits until it responds.
    pub fn start() -> Redis {
        Redis::with(&[])
    }

    /// Starts a server with these command-line options.
    pub fn with(options: &[&str]) -> Redis {
        let mut redis = Redis::not_started(options);
        redis.start_again();
        redis
    }

    /// Returns a server that does not run yet.
    pub fn not_started(options: &[&str]) -> Redis {
        let dir = TempDir::new().expect("a temporary folder");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Redis { dir, port: free_port(), options, process: None }
    }

    /// Starts a server that accepts only TLS, with this certificate and key.
    pub fn with_tls((certificate, key): &(PathBuf, PathBuf), ca: &std::path::Path) -> Redis {
        let port = free_port().to_string();
        let text = |path: &std::path::Path| path.display().to_string();
        let options = [
            "--tls-port",
            &port,
            "--tls-cert-file",
            &text(certificate),
            "--tls-key-file",
            &text(key),
            "--tls-ca-cert-file",
            &text(ca),
        ];
        let mut redis = Redis::with(&[&options[..], &["--tls-auth-clients", "no"]].concat());
        redis.port = port.parse().expect("a port");
        redis
    }

    /// Kills it immediately, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Restarts it with its earlier data on the same port, and waits until it responds.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/redis.sh"));
        command.arg(self.port.to_string()).arg(self.dir.path().join("data")).args(&self.options);
        let mut process = Process::start(&mut command);
        let port = self.port;
        process.wait_until("Redis answers", |_| match send_to(port, &[b"PING"]) {
            Ok(RedisReply::Error(why)) => why.starts_with("NOAUTH"),
            response => response.is_ok(),
        });
        self.process = Some(process);
    }

    /// Suspends it: it does nothing, but its connections stay open, until [`resume`](Self::resume).
    pub fn suspend(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    /// The server as a job names it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the response to a command.
    ///
    /// # Panics
    /// If the server does not respond or reports an error.
    #[track_caller]
    pub fn send_request(&self, strings: &[&str]) -> RedisReply {
        let strings: Vec<&[u8]> = strings.iter().map(|word| word.as_bytes()).collect();
        match send_to(self.port, &strings) {
            Ok(RedisReply::Error(why)) => panic!("{why}"),
            Ok(response) => response,
            Err(error) => panic!("Redis does not answer: {error}"),
        }
    }

    /// Adds an entry. Returns false if the server is unreachable; the entry may exist anyway.
    pub fn try_add(&self, stream: &str, fields: &[(&str, &[u8])]) -> bool {
        Redis::try_add_at(self.port, stream, fields)
    }

    /// The same for the server on a port, which may be killed at any time.
    pub fn try_add_at(port: u16, stream: &str, fields: &[(&str, &[u8])]) -> bool {
        let mut strings: Vec<&[u8]> = vec![b"XADD", stream.as_bytes(), b"*"];
        fields.iter().for_each(|(name, value)| strings.extend([name.as_bytes(), value]));
        match send_to(port, &strings) {
            // The server is still starting.
            Ok(RedisReply::Error(why)) if why.starts_with("LOADING") => false,
            Ok(RedisReply::Error(why)) => panic!("{why}"),
            response => response.is_ok(),
        }
    }

    /// Adds an entry.
    #[track_caller]
    pub fn add(&self, stream: &str, fields: &[(&str, &str)]) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        assert!(self.try_add(stream, &fields), "Redis does not answer");
    }

    /// The fields of all entries of a stream, in order.
    #[track_caller]
    pub fn entries(&self, stream: &str) -> Vec<Vec<(String, Vec<u8>)>> {
        let RedisReply::List(entries) = self.send_request(&["XRANGE", stream, "-", "+"]) else { panic!("no list") };
        let entry = |entry: RedisReply| {
            let RedisReply::List(entry) = entry else { panic!("no entry") };
            let [_, RedisReply::List(fields)] = &entry[..] else { panic!("no fields") };
            let bytes = |response: &RedisReply| match response {
                RedisReply::Bytes(bytes) => bytes.clone(),
                other => panic!("{other:?}"),
            };
            let pair = |pair: &[RedisReply]| (String::from_utf8_lossy(&bytes(&pair[0])).into_owned(), bytes(&pair[1]));
            fields.chunks(2).map(pair).collect()
        };
        entries.into_iter().map(entry).collect()
    }
}

fn send_to(port: u16, strings: &[&[u8]]) -> std::io::Result<RedisReply> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = format!("*{}\r\n", strings.len()).into_bytes();
    for word in strings {
        request.extend(format!("${}\r\n", word.len()).into_bytes());
        request.extend(*word);
        request.extend(b"\r\n");
    }
    server.write_all(&request)?;
    read(&mut BufReader::new(server))
}

fn read(from: &mut BufReader<TcpStream>) -> std::io::Result<RedisReply> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let (kind, rest) = line.trim_end().split_at(1);
    let number = || rest.parse::<i64>().map_err(std::io::Error::other);
    Ok(match kind {
        "+" => RedisReply::Bytes(rest.as_bytes().to_vec()),
        "-" => RedisReply::Error(rest.to_owned()),
        ":" => RedisReply::Number(number()?),
        "$" => match number()? {
            -1 => RedisReply::None,
            length => {
                let mut bytes = vec![0; length as usize + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length as usize);
                RedisReply::Bytes(bytes)
            }
        },
        "*" => match number()? {
            -1 => RedisReply::None,
            count => RedisReply::List((0..count).map(|_| read(from)).collect::<std::io::Result<_>>()?),
        },
        other => return Err(std::io::Error::other(format!("an answer that begins with {other}"))),
    })
}
