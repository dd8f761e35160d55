use super::hello::{HELLO_BYTES, PROOF_BYTES};
use super::*;
use millstream_base::error::Kind;
use millstream_connect::tls::peers::Peers;
use millstream_engine::running::cluster_key::ClusterKey;
use millstream_engine::running::layout::{JobLayout, LayoutUpdate};
use millstream_engine::running::peer_trust::PeerTrust;
use rustls::{ServerConnection, StreamOwned};
use std::io::Read;
use std::thread;

fn hello(process: u32, generation: u64) -> Hello {
    Hello { process, processes: 3, workers: 2, job: 7, generation: Generation(generation), layout: 0 }
}

/// Starts a watch whose reports are ignored.
fn watch() -> Liveness {
    Liveness::start(|_| {}, || false).unwrap()
}

/// Connects to the process of this number as [`reach`] does.
fn greeted(
    own: Hello,
    trust: &PeerTrust,
    purpose: ConnectionPurpose,
    process: usize,
    host: &str,
) -> (Sealed, Generation) {
    let (hosts, layout) = (vec![host.to_owned(); process + 1], LayoutUpdate::default());
    let cluster = Cluster { process: own.process as usize, hosts, listen: None, trust: trust.clone(), layout };
    reach(&PeerToReach { cluster: &cluster, process, is_over: &|| false }, own, purpose).unwrap()
}

/// A process that connects, with its watch.
type Connecting = thread::JoinHandle<(Connected, Liveness)>;

/// Returns the hosts and the trust of three processes, and a function that starts the next process in the order of the
/// hosts.
fn three() -> (Vec<String>, PeerTrust, impl FnMut(u32, u64) -> Connecting) {
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    let key = PeerTrust::with_key(ClusterKey::generate().unwrap()).unwrap();
    let (mut listeners, all, trust) = (listeners.into_iter(), hosts.clone(), key.clone());
    let start = move |process: u32, generation| {
        let cluster = Cluster {
            process: process as usize,
            hosts: all.clone(),
            listen: None,
            trust: trust.clone(),
            layout: LayoutUpdate::default(),
        };
        let port = PeerPort::open(listeners.next().unwrap(), hello(process, 0), &cluster).unwrap();
        thread::spawn(move || {
            let liveness = watch();
            (connect(&cluster, hello(process, generation), port, &liveness).unwrap(), liveness)
        })
    };
    (hosts, key, start)
}

/// Checks the connections for requests.
#[track_caller]
fn what_one_sends_the_other_reads(one: &Connected, other: &Connected) {
    let (mut near, mut far) = (one.questions[0].1.clone(), other.questions[0].1.clone());
    near.write_all(b"it lives").unwrap();
    let mut received = [0; 8];
    far.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"it lives");
}

#[test]
fn all_learn_the_generation_and_a_process_that_died_meanwhile_gets_its_place_again() {
    let (hosts, key, mut start) = three();
    let first = start(0, 42);
    // Process 2 sends its hello and dies.
    drop(greeted(hello(2, 0), &key, ConnectionPurpose::Dataflow, 0, &hosts[0]));
    let others = [start(1, 0), start(2, 0)];
    let (first, _alive) = first.join().unwrap();
    assert_eq!(first.generation.0, 42);
    assert_eq!(first.sockets.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
    let others = others.map(|other| other.join().unwrap());
    assert!(others.iter().all(|(other, _)| other.generation.0 == 42 && other.sockets.iter().flatten().count() == 2));
    assert!(
        !first.sockets.iter().flatten().any(|socket| is_closed(socket.socket())),
        "every connection is one that lives"
    );
    what_one_sends_the_other_reads(&others[0].0, &first);
}

/// The machine of process 1 fails while process 0 waits for process 2, without notice. Then it returns.
#[test]
fn a_process_that_says_nothing_any_more_gives_its_place_to_the_next_one() {
    let (hosts, key, mut start) = three();
    let first = start(0, 42);
    use ConnectionPurpose::{Dataflow, Liveness, Questions};
    let purposes = [Dataflow, Liveness, Questions];
    let mut gone = purposes.map(|purpose| greeted(hello(1, 0), &key, purpose, 0, &hosts[0]).0);
    let again = start(1, 0);
    assert_eq!(gone[0].read(&mut [0]).unwrap_or_default(), 0, "process 0 gives it up");
    let others = [again, start(2, 0)].map(|other| other.join().unwrap());
    let (first, _alive) = first.join().unwrap();
    what_one_sends_the_other_reads(&others[0].0, &first);
}

/// Process 0 was restarted, process 1 was not yet. Process 2 is not paired with process 1, and process 1 ends.
#[test]
fn processes_of_different_starts_never_pair() {
    let listeners: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    let key = PeerTrust::with_key(ClusterKey::generate().unwrap()).unwrap();
    let mut listeners = listeners.into_iter();
    let mut start = |process: u32, zero: usize, generation| {
        let hosts = [&addresses[zero], &addresses[2], &addresses[3]].map(String::clone).to_vec();
        let cluster = Cluster {
            process: process as usize,
            hosts,
            listen: None,
            trust: key.clone(),
            layout: LayoutUpdate::default(),
        };
        let port = PeerPort::open(listeners.next().unwrap(), hello(process, 0), &cluster).unwrap();
        thread::spawn(move || {
            connect(&cluster, hello(process, generation), port, &watch()).map(|peers| peers.generation.0)
        })
    };
    // Neither of them ends: like the peers of a failed machine, they are not notified.
    let _zeros = [start(0, 0, 5), start(0, 1, 6)];
    let one = start(1, 0, 0);
    let until = |condition: &dyn Fn() -> bool| {
        (0..200).any(|_| {
            condition() || {
                thread::sleep(Duration::from_millis(50));
                false
            }
        })
    };
    // Once it waits for process 2, it knows its generation.
    assert!(greeted(hello(2, 0), &key, ConnectionPurpose::Liveness, 1, &addresses[2]).1 == Generation(5));
    let _two = start(2, 1, 0);
    assert!(until(&|| one.is_finished()), "process 1 hears of a later start");
    assert!(one.join().unwrap().is_err());
}

#[test]
fn who_waits_hears_that_the_other_lives_until_it_is_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let key = PeerTrust::with_key(ClusterKey::generate().unwrap()).unwrap();
    let cluster = Cluster {
        process: 0,
        hosts: vec![host.clone()],
        listen: None,
        trust: key.clone(),
        layout: LayoutUpdate::default(),
    };
    let port = PeerPort::open(listener, hello(0, 0), &cluster).unwrap();
    let waiting = thread::spawn(move || greeted(hello(1, 0), &key, ConnectionPurpose::Liveness, 0, &host).1);
    // Longer than the heartbeat timeout: the test waits for something not to happen.
    assert!(port.next(STATUS_TIMEOUT + Duration::from_millis(500)).unwrap().is_none());
    assert!(!waiting.is_finished());
    port.ready();
    let connection = port.next(PORT_CHECK_INTERVAL).unwrap().unwrap();
    send_status(connection, Status::Welcome(Generation(3))).unwrap();
    assert_eq!(waiting.join().unwrap(), Generation(3));
}

/// The job was given a third machine while it ran, and a process connects that was started earlier.
#[test]
fn who_comes_with_other_machines_hears_which_ones_there_are() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let trust = PeerTrust::with_key(ClusterKey::generate().unwrap()).unwrap();
    let machines =
        |hosts: &[&str]| JobLayout { workers: Some(2), hosts: hosts.iter().map(|host| (*host).to_owned()).collect() };
    let given = machines(&[&host, "b:1", "c:1"]);
    let at = |process, hosts: &[String], id| {
        let layout = LayoutUpdate { id, ..LayoutUpdate::default() };
        Cluster { process, hosts: hosts.to_vec(), listen: None, trust: trust.clone(), layout }
    };
    let zero = at(0, &given.hosts, given.id());
    let port = PeerPort::open(listener, Hello { layout: given.id(), ..hello(0, 0) }, &zero).unwrap();
    let before = at(1, &given.hosts[..2], 0);
    let caller = PeerToReach { cluster: &before, process: 0, is_over: &|| false };
    let result = reach(&caller, Hello { processes: 2, ..hello(1, 0) }, ConnectionPurpose::Dataflow);
    assert_eq!(result.err().map(|error| error.kind), Some(Kind::Peer));
    assert_eq!((before.layout.reported.get(), port.waiting()), (Some(&given), 0));
    // A process that was started with the same machines takes part.
    let same = at(1, &given.hosts, 0);
    let waiting = thread::spawn(move || {
        let caller = PeerToReach { cluster: &same, process: 0, is_over: &|| false };
        reach(&caller, hello(1, 0), ConnectionPurpose::Dataflow).map(|reached| reached.1)
    });
    let is_there = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(5));
        port.waiting() == 1
    });
    assert!(is_there && !waiting.is_finished());
    port.ready();
    let connection = port.next(PORT_CHECK_INTERVAL).unwrap().unwrap();
    assert_eq!(connection.hello.process, 1);
    send_status(connection, Status::Welcome(Generation(4))).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), Generation(4));
}

/// The man in the middle has a TLS connection to each end and forwards data. Each proof is valid only for its own
/// connection.
#[test]
fn who_sits_between_two_processes_is_taken_for_neither() {
    let (listener, between) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (far, host) = (listener.local_addr().unwrap(), between.local_addr().unwrap().to_string());
    let trust = PeerTrust::with_key(ClusterKey::generate().unwrap()).unwrap();
    let at = |process| {
        let (hosts, layout) = (vec![host.clone(); 2], LayoutUpdate::default());
        Cluster { process, hosts, listen: None, trust: trust.clone(), layout }
    };
    let port = PeerPort::open(listener, hello(0, 0), &at(0)).unwrap();
    port.ready();
    let relay = thread::spawn(move || {
        let peers = Peers::uncertified().unwrap();
        let (near, far) = (between.accept().unwrap().0, TcpStream::connect(far).unwrap());
        let mut near = StreamOwned::new(ServerConnection::new(peers.listens()).unwrap(), near);
        let mut far = StreamOwned::new(peers.connects("other").unwrap(), far);
        let (mut hello_bytes, mut response) = ([0; HELLO_BYTES], [0; HELLO_BYTES + PROOF_BYTES]);
        near.read_exact(&mut hello_bytes).unwrap();
        far.write_all(&hello_bytes).unwrap();
        far.read_exact(&mut response).unwrap();
        near.write_all(&response).unwrap();
        assert!(!matches!(near.read(&mut [0]), Ok(1..)), "the end that connects proves nothing to it");
        far.write_all(&response[HELLO_BYTES..]).unwrap();
        assert!(!matches!(far.read(&mut [0]), Ok(1..)), "nor can it prove anything to the end that listens");
    });
    let cluster = at(1);
    let caller = PeerToReach { cluster: &cluster, process: 0, is_over: &|| relay.is_finished() };
    assert!(reach(&caller, hello(1, 0), ConnectionPurpose::Dataflow).is_err());
    relay.join().unwrap();
    assert!(port.next(Duration::from_millis(100)).unwrap().is_none() && port.waiting() == 0);
}
