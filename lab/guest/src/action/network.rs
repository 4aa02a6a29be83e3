//! Sockets. Addresses are `host:port`, `[::1]:port` for IPv6; port 0 lets the kernel choose.

use super::actions;
use serde_json::json;
use std::io::{self, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

actions! {
    /// Binds a stream socket to a path and listens.
    "network.unix_listen" => unix_listen(path) {
        UnixListener::bind(path)?;
        Ok(json!(null))
    }

    /// Connects to a socket that listens at the path.
    "network.unix_connect" => unix_connect(path) {
        UnixStream::connect(path)?;
        Ok(json!(null))
    }

    /// Binds and listens. Gives `port`.
    "network.tcp_listen" => tcp_listen(address) {
        let listener = TcpListener::bind(address)?;
        Ok(json!({ "port": listener.local_addr()?.port() }))
    }

    /// Connects to a listener. Gives `port`, the local one.
    "network.tcp_connect" => tcp_connect(address) {
        let stream = TcpStream::connect(address)?;
        Ok(json!({ "port": stream.local_addr()?.port() }))
    }

    /// Listens and accepts one connection, which a thread of the same process makes. Gives `port` and `peer_port`.
    "network.tcp_accept" => tcp_accept(address) {
        let listener = TcpListener::bind(address)?;
        let local = listener.local_addr()?;
        let caller = thread::spawn(move || TcpStream::connect(local)?.write_all(b"hello"));
        let (_stream, peer) = listener.accept()?;
        caller.join().map_err(|_| io::Error::other("the calling thread panicked"))??;
        Ok(json!({ "port": local.port(), "peer_port": peer.port() }))
    }

    /// Sends one datagram to a peer from an unconnected socket. Gives `port`, the local one.
    "network.udp_send" => udp_send(peer) {
        let peer: SocketAddr = peer.parse().map_err(io::Error::other)?;
        let socket = UdpSocket::bind(if peer.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" })?;
        socket.send_to(b"hello", peer)?;
        Ok(json!({ "port": socket.local_addr()?.port() }))
    }

    /// The same with an address that says no family, which the kernel takes for IPv4.
    "network.udp_send_unspecified" => udp_send_unspecified(peer) {
        let peer: SocketAddrV4 = peer.parse().map_err(io::Error::other)?;
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let address = libc::sockaddr_in {
            sin_family: 0,
            sin_port: peer.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(*peer.ip()).to_be() },
            sin_zero: [0; 8],
        };
        // SAFETY: both pointers are to live values of the sizes beside them.
        let sent = unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                b"hello".as_ptr().cast(),
                5,
                0,
                (&raw const address).cast(),
                std::mem::size_of::<libc::sockaddr_in>() as libc::socklen_t,
            )
        };
        super::check(sent as i64)?;
        Ok(json!({ "port": socket.local_addr()?.port() }))
    }
}
