//! The network of half the fleet: bytes between agents and the server, until it is cut.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

/// A port through which the server is reached while the network is whole. Its threads end with the process.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens for agents of the server there.
    ///
    /// # Errors
    /// No port is free.
    pub(crate) fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("a port for half of the agents")?;
        let proxy = Self { port: listener.local_addr()?.port(), state: Arc::default() };
        let state = Arc::clone(&proxy.state);
        thread::spawn(move || {
            for agent in listener.incoming().filter_map(Result::ok) {
                if !state.is_cut.load(Ordering::SeqCst) {
                    // An agent that is not connected tries again.
                    let _ = state.connect(agent, server);
                }
            }
        });
        Ok(proxy)
    }

    /// Nothing goes through any more, and what was open is closed.
    pub(crate) fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // it may have ended by itself
        }
    }

    /// Agents can connect again.
    pub(crate) fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }
}

impl State {
    fn connect(&self, agent: TcpStream, server: SocketAddr) -> io::Result<()> {
        let server = TcpStream::connect(server)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|stream| stream.peer_addr().is_ok());
        open.extend([agent.try_clone()?, server.try_clone()?]);
        drop(open);
        for (mut from, mut to) in [(agent.try_clone()?, server.try_clone()?), (server, agent)] {
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to); // a connection ends as it likes
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            });
        }
        Ok(())
    }
}
