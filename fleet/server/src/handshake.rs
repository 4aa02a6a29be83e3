//! TLS handshakes: each costs a fraction of a millisecond of a processor, and a stranger can begin any number of them.
//!
//! So many have a turn at a time, in their order: when a fleet comes back at once, those that were begun end in time, instead of all of them
//! too late. A turn is for work, not for waiting: it is taken when the peer has said its whole hello, and given back when the peer lets us wait
//! for its answer. Who has not ended its handshake has not shown who it is: one address has at most two thirds of all places for such.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::server::Acceptor;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_rustls::LazyConfigAcceptor;

use crate::server::Settings;

/// For the peer's hello, and again for what follows on it.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Boxed: by value it would lie four times in the task of each agent that waits.
pub(crate) type Stream = Box<TlsStream<TcpStream>>;

/// Those that are under way.
#[derive(Debug)]
pub(crate) struct Handshakes {
    tls: Arc<ServerConfig>,
    turns: Semaphore,
    turn: Duration,
    begun: Mutex<HashMap<IpAddr, usize>>,
    of_address_max: usize,
}

/// A connection whose handshake has not ended, counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Begun {
    handshakes: Arc<Handshakes>,
    address: IpAddr,
}

impl Handshakes {
    pub(crate) fn new(tls: ServerConfig, settings: &Settings) -> Self {
        Self {
            tls: Arc::new(tls),
            turns: Semaphore::new(settings.handshakes_max),
            turn: Duration::from_millis(settings.handshake_turn_ms),
            begun: Mutex::default(),
            of_address_max: settings.connections_max.saturating_sub(settings.connections_max / 3),
        }
    }

    /// Counts a connection; `None` if its address has begun too many already.
    pub(crate) fn begin(self: &Arc<Self>, address: IpAddr) -> Option<Begun> {
        let address = whose(address);
        let mut begun = self.begun();
        let count = begun.entry(address).or_default();
        if *count >= self.of_address_max {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Begun { handshakes: Arc::clone(self), address })
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Begun {
    /// Makes the handshake; `None` if the peer does not, or not in time.
    pub(crate) async fn end(self, stream: TcpStream) -> Option<Stream> {
        let Handshakes { tls, turns, turn, .. } = self.handshakes.as_ref();
        stream.set_nodelay(true).ok()?;
        let hello = async {
            stream.peek(&mut [0]).await?; // for who says nothing nothing is set aside
            LazyConfigAcceptor::new(Acceptor::default(), stream).await
        };
        let hello = timeout(HANDSHAKE, hello).await.ok()?.ok()?;
        let has_turn = turns.acquire().await.ok()?;
        // Our part of the work is done here, before anything is waited for.
        let mut rest = pin!(timeout(HANDSHAKE, hello.into_stream(Arc::clone(tls))));
        let ended = tokio::select! {
            ended = rest.as_mut() => ended,
            () = sleep(*turn) => {
                drop(has_turn);
                rest.await
            }
        };
        ended.ok()?.ok().map(Box::new)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut begun = self.handshakes.begun();
        if let Some(count) = begun.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                begun.remove(&self.address);
            }
        }
    }
}

/// Who has one address of IPv6 has all of its /64.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshakes(connections_max: usize) -> Arc<Handshakes> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let resolver = Arc::new(rustls::server::ResolvesServerCertUsingSni::new());
        let config = config.expect("TLS 1.3").with_no_client_auth().with_cert_resolver(resolver);
        Arc::new(Handshakes::new(config, &Settings { connections_max, ..Settings::default() }))
    }

    #[test]
    fn one_address_leaves_places_to_others_and_gets_its_own_back() {
        let handshakes = handshakes(3);
        let begin = |address: &str| handshakes.begin(address.parse().expect("an address"));
        let (first, _second) = (begin("192.0.2.1").expect("a place"), begin("192.0.2.1").expect("a place"));
        assert!(begin("192.0.2.1").is_none() && begin("::ffff:192.0.2.1").is_none(), "two of three are its own");
        assert!(begin("192.0.2.2").is_some());
        drop(first);
        assert!(begin("192.0.2.1").is_some());
        let _net = [begin("2001:db8::1"), begin("2001:db8::2")].map(|begun| begun.expect("a place"));
        assert!(begin("2001:db8::3").is_none() && begin("2001:db8:0:1::3").is_some(), "a /64 is one's own");
        assert_eq!(handshakes.begun().len(), 2, "what has ended is forgotten");
    }
}
