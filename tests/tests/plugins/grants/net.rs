//! Connections and datagrams of plugins that the job does not grant, also if the plugin does not report the denial.

use millstream_tests::{Ended, Trial};
use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener, UdpSocket};

/// What `nosy.wat` can do. The text at 2048 is a host.
const CONNECT: &str =
    "(call $connect (i32.const 2048) (i32.const LENGTH) (i32.const PORT) (i32.const 500) (i32.const 4096))";
const BIND: &str = "(call $bind (i32.const 2048) (i32.const LENGTH) (i32.const PORT) (i32.const 4096))";
const SEND: &str = "(call $send (i32.const 1) (i32.const 2048) (i32.const LENGTH) (i32.const PORT) (i32.const 2048) (i32.const 1) \
                    (i32.const 4096))";

/// A job with a source that does this with a host and port, and ignores the result.
fn nosy(call: &str, (host, port): (&str, u16), grant: &str) -> Ended {
    let call = call.replace("LENGTH", &host.len().to_string()).replace("PORT", &port.to_string());
    let trial = Trial::new(&format!(
        "batch = \"20ms\"\n[sources.s]\nkind = \"plugin\"\nplugin = \"nosy.wasm\"\n{grant}\n[sinks.out]\nfrom = \"s\"\nkind = \
         \"queue\"\npath = \"out.jsonl\"\n"
    ));
    trial.write("nosy.wat", include_str!("nosy.wat").replace("CALL", &call).replace("HOST", host));
    trial.run_command_ok(&["componentize", "nosy.wat", "--world", "source", "-o", "nosy.wasm"]);
    trial.run(&["--timeout", "60s"])
}

#[track_caller]
fn check_rejected(ended: &Ended, text: &str) {
    assert!(ended.code == Some(2) && ended.stderr.contains(text), "{text}: {ended:?}");
    assert!(ended.stderr.contains("source `s`: plugin nosy 0.1.0"), "{}", ended.stderr);
}

/// Checks that nothing has connected.
#[track_caller]
fn check_unconnected(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn an_attempt_without_a_grant_ends_the_job_whatever_the_plugin_does() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let here = format!("127.0.0.1:{port}");
    for (call, what, key) in [
        (CONNECT, "a connection to", "tcp"),
        (BIND, "listening for datagrams at", "udp"),
        (SEND, "a datagram to", "udp"),
    ] {
        let text = format!("{what} {here} is not granted; the job grants it with grant = {{ {key} = [\"{here}\"] }}");
        check_rejected(&nosy(call, ("127.0.0.1", port), ""), &text);
        // A grant of another kind does not count, and neither does a grant of another name; this name is not resolved.
        let other = if key == "tcp" { "udp" } else { "tcp" };
        check_rejected(&nosy(call, ("127.0.0.1", port), &format!("grant = {{ {other} = [\"{here}\"] }}")), &text);
        let text = format!("{what} feed.example.com:{port} is not granted");
        let grant = format!("grant = {{ {key} = [\"*.example.org:{port}\"] }}");
        check_rejected(&nosy(call, ("feed.example.com", port), &grant), &text);
    }
    check_unconnected(&listener);
    let ended = nosy(CONNECT, ("127.0.0.1", port), &format!("grant = {{ tcp = [\"{here}\"] }}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    listener.accept().unwrap();
}

/// An address of a network card of this machine, if it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: this only selects the source address.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|own| !own.is_loopback())
}

#[test]
fn a_granted_name_gives_no_access_to_this_machine() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut names = vec![("127.1".to_owned(), "127.0.0.1".to_owned()), ("0x0".into(), "0.0.0.0".into())];
    match own_address() {
        // The system reads such a name as an address; a name server could return the same for any name.
        Some(IpAddr::V4(own)) => names.push((format!("{:#x}", u32::from(own)), own.to_string())),
        _ => eprintln!("this machine has no address in a network: one name is not tried"),
    }
    for (name, address) in names {
        let granted =
            |more: &str| format!("grant = {{ tcp = [\"{name}:{port}\"{more}], udp = [\"{name}:{port}\"{more}] }}");
        let text = format!("`{name}` resolves to {address}, which is not an address of another machine");
        for call in [CONNECT, SEND] {
            check_rejected(&nosy(call, (&name, port), &granted("")), &text);
        }
        check_unconnected(&listener);
        let ended = nosy(CONNECT, (&name, port), &granted(&format!(", \"{address}:{port}\"")));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        listener.accept().unwrap();
    }
}
