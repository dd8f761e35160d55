//! Tests that communicate with peers as a plugin would.

use super::*;
use std::io::{Read, Write};

/// Starts a peer with these keys and this script.
fn peer(keys: &str, script: &str) -> (tempfile::TempDir, Peers) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("peer.txt"), script).unwrap();
    let spec: PeerSpec = toml::from_str(keys).unwrap();
    let peers = Peers::start(&BTreeMap::from([("peer".to_owned(), spec)]), dir.path()).unwrap();
    (dir, peers)
}

fn connected(peers: &Peers) -> TcpStream {
    let stream = TcpStream::connect(peers.addressed("{peer}")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Sends these bytes, and returns what is received until the connection ends.
fn send(peers: &Peers, bytes: &[u8]) -> String {
    let mut stream = connected(peers);
    stream.write_all(bytes).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    escape(&response)
}

fn received(peers: &Peers) -> String {
    peers.settle();
    peers.received().map(|(_, received)| received).collect()
}

#[test]
fn a_server_over_tcp_answers_lines_and_forgets_them() {
    let (_dir, mut peers) = peer("kind = \"tcp\"", "let n = 0\n< hello\n> ADD {n}\n< now {n}\n> GET\n< {n}\nclose\n");
    assert_eq!(send(&peers, b"GET\nnever heard\n"), "hello\\n0\\n");
    assert_eq!(send(&peers, b"ADD 7\nGET\n"), "hello\\nnow 7\\n7\\n");
    assert_eq!(send(&peers, b"GET\n"), "hello\\n7\\n");
    assert_eq!(received(&peers), "GET\nADD 7\nGET\nGET\n");
    assert_eq!(peers.error(), None);
    peers.reset();
    assert_eq!(send(&peers, b"GET\n"), "hello\\n0\\n");
    // A truncated message is recorded, and a message without a rule is reported.
    drop(connected(&peers).write_all(b"AD"));
    assert_eq!(received(&peers), "GET\nAD\\\n");
    send(&peers, b"what\x01\n");
    assert_eq!(peers.error().unwrap(), "peer `peer`: no rule of peer.txt matches what the plugin sent: what\\x01");
}

#[test]
fn messages_of_a_fixed_length_have_no_ends_of_lines() {
    let (_dir, peers) = peer("kind = \"tcp\"\nbytes = 3", "> a{n:u16}\n< {n}!\n< {n:u8}\n> end\nclose\n");
    assert_eq!(send(&peers, b"a\0\x07a\x01\x02end"), "7!\\x07258!\\x02");
}

#[test]
fn a_server_of_http_takes_bodies_and_answers_with_headers() {
    let script = "> GET /a\n< 204\n> POST /b [x-key: {key}] {body}\n< 200 [etag: \"1\"] [x-key: {key}]\n< {body}\n< end\n> GET /gone\nclose\n> GET /odd\n< what\n";
    let (_dir, peers) = peer("kind = \"http\"\nheaders = [\"X-Key\"]", script);
    let head =
        "HTTP/1.1 200 Case\\r\\nConnection: close\\r\\nContent-Length: 7\\r\\netag: \"1\"\\r\\nx-key: k\\r\\n\\r\\n";
    let complete = b"POST /b HTTP/1.1\r\nHost: a\r\nX-KEY: k\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(send(&peers, complete), format!("{head}abc\\nend"));
    let chunked = b"POST /b HTTP/1.1\r\nx-key: k\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    assert_eq!(send(&peers, chunked), format!("{head}abc\\nend"));
    assert_eq!(send(&peers, b"GET /a HTTP/1.1\r\n\r\n"), "HTTP/1.1 204 Case\\r\\nConnection: close\\r\\n\\r\\n");
    assert_eq!(send(&peers, b"GET /gone HTTP/1.1\r\n\r\n"), "");
    assert_eq!(received(&peers), "POST /b [x-key: k] abc\nPOST /b [x-key: k] abc\nGET /a\nGET /gone\n");
    assert_eq!(peers.error(), None);
    send(&peers, b"GET /odd HTTP/1.1\r\n\r\n");
    assert!(peers.error().unwrap().contains("an HTTP response begins with its status"), "{:?}", peers.error());
}

#[test]
fn datagrams_are_heard_and_answered_and_sent() {
    let (_dir, peers) = peer("kind = \"udp\"", "> ping {n}\n< pong {n}\n");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.send_to(b"ping 3", peers.addressed("{peer}")).unwrap();
    let mut bytes = [0; 9];
    let count = socket.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..count], b"pong 3");
    assert_eq!(received(&peers), "ping 3\n");

    let (_dir, mut peers) = peer("kind = \"udp-sender\"", "< a\n< b\n");
    // No socket listens.
    peers.send();
    let socket = UdpSocket::bind(peers.addressed("{peer}")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Sent once, however often it is requested.
    peers.send();
    peers.send();
    for expected in [b"a", b"b"] {
        let count = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], expected);
    }
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut bytes).is_err());
}
