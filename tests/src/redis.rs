//! A real Redis server in a folder of its own, which keeps what it has confirmed when it is killed.

use crate::{Process, free_port, root};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A server on a port of 127.0.0.1. It ends when this is dropped.
pub struct Redis {
    dir: TempDir,
    port: u16,
    /// Options of the server.
    options: Vec<String>,
    process: Option<Process>,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    None,
    /// A number.
    Number(i64),
    /// Text, of any bytes.
    Bytes(Vec<u8>),
    /// Several answers.
    List(Vec<Answer>),
    /// It does not do that.
    Error(String),
}

impl Redis {
    /// Starts one and waits until it answers.
    pub fn start() -> Redis {
        Redis::with(&[])
    }

    /// The same with these options, as of its command line.
    pub fn with(options: &[&str]) -> Redis {
        let mut redis = Redis::not_started(options);
        redis.start_again();
        redis
    }

    /// One that does not run yet.
    pub fn not_started(options: &[&str]) -> Redis {
        let dir = TempDir::new().expect("a temporary folder");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Redis { dir, port: free_port(), options, process: None }
    }

    /// One that speaks TLS only, with this certificate and its key.
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

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it with what it held before, on the same port, and waits until it answers.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/redis.sh"));
        command.arg(self.port.to_string()).arg(self.dir.path().join("data")).args(&self.options);
        let mut process = Process::start(&mut command);
        let port = self.port;
        process.until("Redis answers", |_| match ask_at(port, &[b"PING"]) {
            Ok(Answer::Error(why)) => why.starts_with("NOAUTH"),
            answer => answer.is_ok(),
        });
        self.process = Some(process);
    }

    /// Lets it do nothing, though it runs and its connections stand; until it [goes on](Self::go_on).
    pub fn hang(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    /// The server as a job names it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it answers to a command.
    ///
    /// # Panics
    /// Where it does not answer, or says that it does not do that.
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> Answer {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        match ask_at(self.port, &words) {
            Ok(Answer::Error(why)) => panic!("{why}"),
            Ok(answer) => answer,
            Err(error) => panic!("Redis does not answer: {error}"),
        }
    }

    /// Adds an entry; false: the server is away, and it is not known whether it did.
    pub fn try_add(&self, stream: &str, fields: &[(&str, &[u8])]) -> bool {
        Redis::try_add_at(self.port, stream, fields)
    }

    /// The same of the server on a port, which somebody may be killing.
    pub fn try_add_at(port: u16, stream: &str, fields: &[(&str, &[u8])]) -> bool {
        let mut words: Vec<&[u8]> = vec![b"XADD", stream.as_bytes(), b"*"];
        fields.iter().for_each(|(name, value)| words.extend([name.as_bytes(), value]));
        match ask_at(port, &words) {
            // It is just starting.
            Ok(Answer::Error(why)) if why.starts_with("LOADING") => false,
            Ok(Answer::Error(why)) => panic!("{why}"),
            answer => answer.is_ok(),
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
        let Answer::List(entries) = self.ask(&["XRANGE", stream, "-", "+"]) else { panic!("no list") };
        let entry = |entry: Answer| {
            let Answer::List(entry) = entry else { panic!("no entry") };
            let [_, Answer::List(fields)] = &entry[..] else { panic!("no fields") };
            let bytes = |answer: &Answer| match answer {
                Answer::Bytes(bytes) => bytes.clone(),
                other => panic!("{other:?}"),
            };
            let pair = |pair: &[Answer]| (String::from_utf8_lossy(&bytes(&pair[0])).into_owned(), bytes(&pair[1]));
            fields.chunks(2).map(pair).collect()
        };
        entries.into_iter().map(entry).collect()
    }
}

fn ask_at(port: u16, words: &[&[u8]]) -> std::io::Result<Answer> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend(format!("${}\r\n", word.len()).into_bytes());
        request.extend(*word);
        request.extend(b"\r\n");
    }
    server.write_all(&request)?;
    read(&mut BufReader::new(server))
}

fn read(from: &mut BufReader<TcpStream>) -> std::io::Result<Answer> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let (kind, rest) = line.trim_end().split_at(1);
    let number = || rest.parse::<i64>().map_err(std::io::Error::other);
    Ok(match kind {
        "+" => Answer::Bytes(rest.as_bytes().to_vec()),
        "-" => Answer::Error(rest.to_owned()),
        ":" => Answer::Number(number()?),
        "$" => match number()? {
            -1 => Answer::None,
            length => {
                let mut bytes = vec![0; length as usize + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length as usize);
                Answer::Bytes(bytes)
            }
        },
        "*" => match number()? {
            -1 => Answer::None,
            count => Answer::List((0..count).map(|_| read(from)).collect::<std::io::Result<_>>()?),
        },
        other => return Err(std::io::Error::other(format!("an answer that begins with {other}"))),
    })
}
