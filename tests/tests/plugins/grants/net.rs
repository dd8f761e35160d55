//! Connections and datagrams of plugins that the job does not grant, also where the plugin says nothing of the refusal.

use millstream_tests::{Ended, Trial};
use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener, UdpSocket};

/// What `nosy.wat` may do. The text at 2048 is a host.
const CONNECT: &str =
    "(call $connect (i32.const 2048) (i32.const LENGTH) (i32.const PORT) (i32.const 500) (i32.const 4096))";
const BIND: &str = "(call $bind (i32.const 2048) (i32.const LENGTH) (i32.const PORT) (i32.const 4096))";
const SEND: &str = "(call $send (i32.const 1) (i32.const 2048) (i32.const LENGTH) (i32.const PORT) (i32.const 2048) (i32.const 1) \
                    (i32.const 4096))";

/// A job with a source that does this with a host and port, and puts aside what came of it.
fn nosy(call: &str, (host, port): (&str, u16), grant: &str) -> Ended {
    let call = call.replace("LENGTH", &host.len().to_string()).replace("PORT", &port.to_string());
    let trial = Trial::new(&format!(
        "batch = \"20ms\"\n[sources.s]\nkind = \"plugin\"\nplugin = \"nosy.wasm\"\n{grant}\n[sinks.out]\nfrom = \"s\"\nkind = \
         \"queue\"\npath = \"out.jsonl\"\n"
    ));
    trial.write("nosy.wat", include_str!("nosy.wat").replace("CALL", &call).replace("HOST", host));
    trial.well(&["componentize", "nosy.wat", "--world", "source", "-o", "nosy.wasm"]);
    trial.run(&["--timeout", "60s"])
}

#[track_caller]
fn refused(ended: &Ended, words: &str) {
    assert!(ended.code == Some(2) && ended.stderr.contains(words), "{words}: {ended:?}");
    assert!(ended.stderr.contains("source `s`: plugin nosy 0.1.0"), "{}", ended.stderr);
}

/// Nobody has connected.
#[track_caller]
fn alone(listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn what_is_not_granted_ends_the_job_whatever_the_plugin_makes_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let here = format!("127.0.0.1:{port}");
    for (call, what, key) in [
        (CONNECT, "a connection to", "tcp"),
        (BIND, "listening for datagrams at", "udp"),
        (SEND, "a datagram to", "udp"),
    ] {
        let words = format!("{what} {here} is not granted; the job grants it with grant = {{ {key} = [\"{here}\"] }}");
        refused(&nosy(call, ("127.0.0.1", port), ""), &words);
        // A grant of something else is none, and one of another name is none of this one, which is not looked up.
        let other = if key == "tcp" { "udp" } else { "tcp" };
        refused(&nosy(call, ("127.0.0.1", port), &format!("grant = {{ {other} = [\"{here}\"] }}")), &words);
        let words = format!("{what} feed.example.com:{port} is not granted");
        let grant = format!("grant = {{ {key} = [\"*.example.org:{port}\"] }}");
        refused(&nosy(call, ("feed.example.com", port), &grant), &words);
    }
    alone(&listener);
    let ended = nosy(CONNECT, ("127.0.0.1", port), &format!("grant = {{ tcp = [\"{here}\"] }}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    listener.accept().unwrap();
}

/// An address of a card of this machine, where it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: this only chooses the address from which it would be.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|own| !own.is_loopback())
}

#[test]
fn a_granted_name_leads_to_no_address_of_this_machine() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut names = vec![("127.1".to_owned(), "127.0.0.1".to_owned()), ("0x0".into(), "0.0.0.0".into())];
    match own_address() {
        // The system reads such a name as an address; a name server could answer the same for any name.
        Some(IpAddr::V4(own)) => names.push((format!("{:#x}", u32::from(own)), own.to_string())),
        _ => eprintln!("this machine has no address in a network: one name is not tried"),
    }
    for (name, address) in names {
        let granted =
            |more: &str| format!("grant = {{ tcp = [\"{name}:{port}\"{more}], udp = [\"{name}:{port}\"{more}] }}");
        let words = format!("`{name}` resolves to {address}, which is not an address of another machine");
        for call in [CONNECT, SEND] {
            refused(&nosy(call, (&name, port), &granted("")), &words);
        }
        alone(&listener);
        let ended = nosy(CONNECT, (&name, port), &granted(&format!(", \"{address}:{port}\"")));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        listener.accept().unwrap();
    }
}
