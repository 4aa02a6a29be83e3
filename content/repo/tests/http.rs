//! The client against web servers: a good one, and those that send for ever, slowly, nothing, elsewhere or half.

mod support;

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use support::{start, Desk};
use watertight_content_repo::client::ClientError;
use watertight_content_repo::release::signed_packs;
use watertight_content_repo::source::{HttpLimits, HttpSource, Source as _, SourceError, Tree};

/// What a server talks through: TCP, or TLS over it.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A server on the loopback for one test; it ends with it.
struct Server {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Bytes that a server which never ends sends at most: a client that reads on fails its test, not the machine.
const ENDLESS_SIZE_BYTES_MAX: usize = 32 * 1024 * 1024;

impl Server {
    /// Answers every request by `answer`, which gets the path.
    fn new(answer: impl Fn(&str, &mut dyn Stream) -> std::io::Result<()> + Send + 'static) -> Self {
        Self::with_tls(None, answer)
    }

    fn with_tls(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&str, &mut dyn Stream) -> std::io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port of the loopback");
        let address = listener.local_addr().expect("it is bound");
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                // The client may leave at any moment: that is its right.
                let _ = match &tls {
                    None => serve(&mut stream, &answer),
                    Some(config) => {
                        let mut connection = ServerConnection::new(Arc::clone(config)).expect("a good configuration");
                        let served = serve(&mut rustls::Stream::new(&mut connection, &mut stream), &answer);
                        connection.send_close_notify();
                        served.and_then(|()| connection.complete_io(&mut stream).map(|_| ()))
                    }
                };
            }
        });
        Self { address, is_over, thread: Some(thread) }
    }

    fn of_folder(folder: PathBuf) -> Self {
        Self::new(move |path, stream| match std::fs::read(folder.join(path.trim_start_matches('/'))) {
            Ok(bytes) => whole(stream, "200 OK", &bytes),
            Err(_) => whole(stream, "404 Not Found", b""),
        })
    }

    fn source(&self) -> HttpSource {
        let limits = HttpLimits { wait_ms_max: 300, speed_bytes_per_s_min: 1024 * 1024 };
        HttpSource::new(&format!("http://{}", self.address), None, limits).expect("a good URL")
    }

    fn refused(&self) -> SourceError {
        self.source().fetch(Tree::Metadata, "timestamp.json", 16 * 1024).expect_err("a bad server")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // wakes it
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no test's server panics");
        }
    }
}

fn serve(
    stream: &mut dyn Stream,
    answer: &impl Fn(&str, &mut dyn Stream) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut *stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
    answer(first.split(' ').nth(1).unwrap_or_default(), stream)
}

fn whole(stream: &mut dyn Stream, status: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

#[test]
fn a_static_web_server_gives_what_the_folder_gives() {
    let desk = Desk::with_pack();
    let server = Server::of_folder(desk.folder.path().to_owned());
    let mut client = desk.client(server.source());
    client.refresh(start()).expect("a good server");
    let packs = signed_packs(&mut client, start()).expect("good packs");
    assert_eq!(client.download(&packs[0].target).expect("its bytes"), b"pack one");
}

#[test]
fn malicious_mirror_a_server_that_has_other_bytes_is_refused() {
    let desk = Desk::with_pack();
    let folder = desk.folder.path().to_owned();
    let server = Server::new(move |path, stream| {
        let bytes = std::fs::read(folder.join(path.trim_start_matches('/')));
        match bytes {
            Ok(mut bytes) => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                whole(stream, "200 OK", &bytes)
            }
            Err(_) => whole(stream, "404 Not Found", b""),
        }
    });
    desk.client(server.source()).refresh(start()).expect_err("a bit is not as it was signed");
}

#[test]
fn endless_data_a_body_without_an_end_is_cut_off() {
    let server = Server::new(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        let part = [b' '; 64 * 1024];
        (0..ENDLESS_SIZE_BYTES_MAX / part.len()).try_for_each(|_| stream.write_all(&part))
    });
    assert!(matches!(server.refused(), SourceError::TooLarge { size_bytes_max: 16384, .. }));
}

#[test]
fn endless_data_a_size_that_is_told_is_refused_before_the_body() {
    let server = Server::new(|_, stream| write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX));
    assert!(matches!(server.refused(), SourceError::TooLarge { .. }));
}

#[test]
fn endless_data_a_head_without_an_end_is_refused() {
    let server = Server::new(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        (0..10_000).try_for_each(|number| write!(stream, "X-{number}: {}\r\n", "x".repeat(100)))
    });
    server.refused();
}

#[test]
fn slow_retrieval_a_server_that_says_nothing_is_left() {
    let is_over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&is_over);
    let server = Server::new(move |_, _stream| {
        wait_for(&until);
        Ok(())
    });
    assert!(matches!(server.refused(), SourceError::TooSlow { .. }));
    is_over.store(true, Ordering::Relaxed);
}

#[test]
fn slow_retrieval_a_server_that_stops_in_the_middle_is_left() {
    let is_over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&is_over);
    let server = Server::new(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")?;
        wait_for(&until);
        Ok(())
    });
    assert!(matches!(server.refused(), SourceError::TooSlow { .. }));
    is_over.store(true, Ordering::Relaxed);
}

#[test]
fn slow_retrieval_a_server_that_drips_is_left() {
    let server = Server::new(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")?;
        for _ in 0..10_000 {
            stream.write_all(b"x")?;
            stream.flush()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    assert!(matches!(server.refused(), SourceError::TooSlow { .. }));
}

#[test]
fn slow_retrieval_a_server_that_drips_after_a_good_beginning_is_left() {
    let drips = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&drips);
    let server = Server::new(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n")?;
        // Spread over the whole, this would do for half a minute.
        stream.write_all(&vec![b' '; 32 * 1024 * 1024])?;
        for _ in 0..1_000 {
            stream.write_all(b"x")?;
            stream.flush()?;
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let fetched = server.source().fetch(Tree::Targets, "linux.pack", 64 << 20);
    let refused = fetched.map(|bytes| bytes.map(|bytes| bytes.len())).expect_err("a bad server");
    assert!(matches!(refused, SourceError::TooSlow { .. }), "{refused}");
    assert!(refused.to_string().contains("bytes a second"), "{refused}");
    assert!(drips.load(Ordering::Relaxed) < 500, "the end of the stretch is the end of it");
}

#[test]
fn what_comes_is_told_while_it_comes() {
    let server = Server::new(|_, stream| whole(stream, "200 OK", &[b' '; 100_000]));
    let mut told = Vec::new();
    let fetched = server.source().fetch_telling(Tree::Targets, "x", 100_000, &mut |bytes| told.push(bytes));
    assert_eq!(fetched.expect("a good server").map(|bytes| bytes.len()), Some(100_000));
    assert!(told.is_sorted() && told.len() > 2, "{told:?}");
    assert_eq!((told.first(), told.last()), (Some(&0), Some(&100_000)), "the head, then the bytes");
}

fn wait_for(is_over: &AtomicBool) {
    // Bounded: a client that waits for ever fails its own test.
    for _ in 0..1000 {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_body_that_ends_early_is_refused() {
    let server = Server::new(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{}")
    });
    assert!(matches!(server.refused(), SourceError::Failed { .. }));
}

#[test]
fn a_redirect_is_followed_on_the_server_and_never_to_another_scheme_or_for_ever() {
    let good = Server::new(|path, stream| {
        if path == "/elsewhere" {
            return whole(stream, "200 OK", b"{}");
        }
        stream
            .write_all(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    });
    let found = good.source().fetch(Tree::Metadata, "timestamp.json", 100).expect("it is followed");
    assert_eq!(found.as_deref(), Some(&b"{}"[..]));
    for target in ["https://127.0.0.1/x", "file:///etc/passwd", "/timestamp.json", ""] {
        let bad = Server::new(move |_, stream| {
            write!(stream, "HTTP/1.1 301 Moved\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        });
        assert!(matches!(bad.refused(), SourceError::Redirect { .. }), "{target}");
    }
}

#[test]
fn a_server_that_fails_is_no_server_without_the_file() {
    let server = Server::new(|_, stream| whole(stream, "503 Service Unavailable", b"later"));
    assert!(matches!(server.refused(), SourceError::Status { status: 503, .. }));
    let desk = Desk::with_pack();
    // Were it taken for "no newer root", a server could hold a root back by failing.
    let refused = desk.client(server.source()).refresh(start());
    assert!(matches!(refused, Err(ClientError::Source(SourceError::Status { .. }))), "{refused:?}");
}

#[test]
fn a_path_is_asked_for_under_its_own_name() {
    let server = Server::new(|path, stream| whole(stream, "200 OK", path.as_bytes()));
    let fetch = |tree, path| {
        let found = server.source().fetch(tree, path, 1000).expect("an answer").expect("a file");
        String::from_utf8(found).expect("text")
    };
    assert_eq!(fetch(Tree::Targets, "a b/ä%?#.pack"), "/targets/a%20b/%C3%A4%25%3F%23.pack");
    assert_eq!(fetch(Tree::Metadata, "1.%2Frole.json"), "/metadata/1.%2Frole.json");
}

/// A certificate for the loopback that signed itself, and a server's configuration with it.
fn certificate() -> (String, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate and its key");
    (made.cert.pem(), Arc::new(config))
}

#[test]
fn https_works_with_the_authority_that_was_named_and_with_no_other() {
    let desk = Desk::with_pack();
    let folder = desk.folder.path().to_owned();
    let (authority, config) = certificate();
    let server = Server::with_tls(Some(config), move |path, stream| {
        match std::fs::read(folder.join(path.trim_start_matches('/'))) {
            Ok(bytes) => whole(stream, "200 OK", &bytes),
            Err(_) => whole(stream, "404 Not Found", b""),
        }
    });
    let source = |authority: Option<&str>| {
        let url = format!("https://{}", server.address);
        HttpSource::new(&url, authority.map(str::as_bytes), HttpLimits::default()).expect("a good URL")
    };
    let mut client = desk.client(source(Some(&authority)));
    client.refresh(start()).expect("a good server");
    assert_eq!(signed_packs(&mut client, start()).expect("good packs").len(), 1);
    let (other, _) = certificate();
    for authority in [None, Some(other.as_str())] {
        let refused = desk.client(source(authority)).refresh(start());
        assert!(matches!(refused, Err(ClientError::Source(SourceError::Failed { .. }))), "{refused:?}");
    }
    assert!(HttpSource::new("https://127.0.0.1", Some(b"no certificate"), HttpLimits::default()).is_err());
}
