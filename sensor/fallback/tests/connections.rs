//! Socket dumps over loopback.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use support::{collect, permitted};
use watertight_sensor_fallback::{Connection, Observed, Protocol, SockDiag, SocketState};

fn open() -> Option<SockDiag> {
    permitted(SockDiag::open(Duration::from_millis(100)))
}

fn find(seen: &[Observed], local: SocketAddr, state: SocketState) -> Option<Connection> {
    seen.iter().find_map(|observed| match observed {
        Observed::Connection(connection) if connection.local == local && connection.state == state => {
            Some(connection.clone())
        }
        _ => None,
    })
}

#[test]
fn a_listener_and_both_ends_of_a_connection_are_seen_once_with_their_process() {
    let Some(mut source) = open() else { return };
    let mut first_look = false;
    collect(|sink| source.drain(sink).inspect(|_| first_look = true), |_| true);
    assert!(first_look);

    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let server = listener.local_addr().expect("bound");
    let stream = TcpStream::connect(server).expect("loopback");
    let client = stream.local_addr().expect("connected");
    let (_accepted, _) = listener.accept().expect("a connection");
    let seen = collect(
        |sink| source.drain(sink),
        |seen| {
            find(seen, client, SocketState::Established).is_some()
                && find(seen, server, SocketState::Listening).is_some()
        },
    );
    let listening = find(&seen, server, SocketState::Listening).expect("the listener");
    let connected = find(&seen, client, SocketState::Established).expect("the client");
    assert_eq!(connected.remote, server);
    assert_eq!((connected.protocol, connected.pid), (Protocol::Tcp, i32::try_from(std::process::id()).ok()));
    assert_eq!(listening.pid, connected.pid);
    assert_eq!(connected.uid, rustix::process::geteuid().as_raw());

    let mut again = Vec::new();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(120));
        source.drain(&mut |observed| again.push(observed)).expect("draining works");
    }
    assert!(find(&again, client, SocketState::Established).is_none(), "told once");
}

#[test]
fn a_connection_that_came_and_went_between_two_looks_is_still_seen() {
    let Some(mut source) = open() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let client = stream.local_addr().expect("connected");
    let (accepted, _) = listener.accept().expect("a connection");
    drop(stream); // the side that closes first stays in TIME_WAIT
    drop(accepted);
    let seen = collect(|sink| source.drain(sink), |seen| find(seen, client, SocketState::Closing).is_some());
    assert_eq!(find(&seen, client, SocketState::Closing).expect("in TIME_WAIT").pid, None);
}

#[test]
fn a_udp_socket_is_seen_and_so_is_each_new_peer() {
    let Some(mut source) = open() else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let local = socket.local_addr().expect("bound");
    let seen = collect(|sink| source.drain(sink), |seen| find(seen, local, SocketState::Listening).is_some());
    if find(&seen, local, SocketState::Listening).is_none() {
        return println!("skipped: this kernel doesn't dump UDP sockets");
    }
    for peer in ["127.0.0.1:9", "127.0.0.1:10"] {
        socket.connect(peer).expect("loopback");
        let is_peer = |seen: &[Observed]| {
            find(seen, local, SocketState::Established).is_some_and(|connection| connection.remote.to_string() == peer)
        };
        assert!(is_peer(&collect(|sink| source.drain(sink), is_peer)), "{peer}");
    }
}
