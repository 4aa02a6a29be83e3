//! One connection, one request at a time, HTTP/1.1 as this server speaks it: every answer has a length.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use watertight_fleet_wire::protocol::{read, write, Message, NEWEST, PROTOCOL_HEADER};
use watertight_fleet_wire::{Code, Problem};

/// An answer of the agents' API is far smaller; a thousand hosts of the operator API are the largest.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// What one read takes.
const READ_BYTES: usize = 2 * 1024;
/// An answer takes no longer, unless the request says so: under overload that is a failure, and told as one.
pub const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Why there is no answer that helps.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection was not made, or ended.
    #[error("the connection: {0}")]
    Io(#[from] io::Error),
    /// Nothing came in time.
    #[error("no answer in {} s", .0.as_secs())]
    Late(Duration),
    /// What came is no answer of this server.
    #[error("no answer of a fleet server: {0}")]
    Unreadable(String),
    /// The server refuses.
    #[error("refused with {status}: {}", .problem.message)]
    Refused {
        /// The status.
        status: u16,
        /// What it says.
        problem: Problem,
    },
}

impl Failure {
    /// When the server wants to be asked again.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Refused { problem, .. } => problem.retry_after_ms,
            _ => None,
        }
    }

    /// What the server called it, if it was the server.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { problem, .. } => Some(problem.code),
            _ => None,
        }
    }

    /// Whether the connection can be used on.
    #[must_use]
    pub fn keeps_connection(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.code != Code::TooLarge)
    }
}

/// An answer; the body lies in the connection.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// All of the body.
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// What it says, or what it refuses with.
    ///
    /// # Errors
    /// It is a refusal, or not of this protocol.
    pub fn told<M: Message>(&self) -> Result<M, Failure> {
        if self.status == 200 {
            return read(NEWEST, self.body, ANSWER_BYTES_MAX).map_err(|why| Failure::Unreadable(why.to_string()));
        }
        match read(NEWEST, self.body, ANSWER_BYTES_MAX) {
            Ok(problem) => Err(Failure::Refused { status: self.status, problem }),
            Err(why) => Err(Failure::Unreadable(format!("status {}: {why}", self.status))),
        }
    }
}

/// A connection to the server.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    sent: Vec<u8>,
    read: Vec<u8>,
}

impl Connection {
    /// Over a stream on which TLS is done.
    #[must_use]
    pub fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, sent: Vec::new(), read: Vec::new() }
    }

    /// Sends a message of the protocol, and reads the one that answers.
    ///
    /// # Errors
    /// See `Failure`.
    pub async fn post<Q: Message, A: Message>(&mut self, path: &str, message: &Q) -> Result<A, Failure> {
        self.ask("POST", path, "", &write(NEWEST, message), ANSWER_WAIT).await?.told()
    }

    /// Asks. `headers` are lines beside the usual ones, each with its end.
    ///
    /// # Errors
    /// No answer came in time, or none of this server.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
        wait: Duration,
    ) -> Result<Answer<'_>, Failure> {
        let mut message = std::mem::take(&mut self.sent);
        message.clear();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{PROTOCOL_HEADER}: {NEWEST}\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        message.extend_from_slice(head.as_bytes());
        message.extend_from_slice(body);
        let sent = self.send(&message).await;
        self.sent = message;
        sent?;
        self.answer(wait).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn answer(&mut self, wait: Duration) -> Result<Answer<'_>, Failure> {
        let head = match timeout(wait, self.read_whole(READ_BYTES, Duration::ZERO)).await {
            Ok(head) => head?,
            Err(_) => return Err(Failure::Late(wait)),
        };
        Ok(self.read_answer(head))
    }

    /// Reads an answer a little at a time, with a rest after each.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn answer_slowly(&mut self, bytes: usize, rest: Duration) -> Result<Answer<'_>, Failure> {
        let head = self.read_whole(bytes.clamp(1, READ_BYTES), rest).await?;
        Ok(self.read_answer(head))
    }

    fn read_answer(&self, head: Head) -> Answer<'_> {
        Answer { status: head.status, body: self.read.get(head.bytes..).unwrap_or_default() }
    }

    /// Reads until an answer is whole.
    async fn read_whole(&mut self, bytes: usize, rest: Duration) -> Result<Head, Failure> {
        self.read.clear();
        let mut part = [0_u8; READ_BYTES];
        let mut head = None;
        loop {
            let count = self.stream.read(part.get_mut(..bytes).unwrap_or_default()).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.read.extend_from_slice(part.get(..count).unwrap_or_default());
            if head.is_none() {
                head = Head::read(&self.read)?;
            }
            if let Some(head) = head {
                let missing = head.bytes.saturating_add(head.body_bytes).saturating_sub(self.read.len());
                if missing == 0 {
                    return Ok(head);
                }
            }
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
        }
    }
}

/// What is needed of an answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

impl Head {
    /// The head, once all of it is there.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Failure> {
        let unreadable = |why: &str| Failure::Unreadable(why.to_owned());
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if bytes.len() > HEAD_BYTES_MAX { Err(unreadable("its head has no end")) } else { Ok(None) };
        };
        let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).map_err(|_| unreadable("no text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let (Some(status), Some(body_bytes)) = (status, length) else {
            return Err(unreadable("no status, or no length"));
        };
        if body_bytes > ANSWER_BYTES_MAX {
            return Err(unreadable("it is too large"));
        }
        Ok(Some(Self { status, bytes: end.saturating_add(4), body_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: y\r\n\r\nok";
        for part in 0..text.len() - 2 {
            assert_eq!(Head::read(&text[..part]).expect("nothing wrong yet"), None, "{part}");
        }
        let head = Head::read(text).expect("a head");
        assert_eq!(head, Some(Head { status: 200, bytes: text.len() - 2, body_bytes: 2 }));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for text in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"nothing\r\ncontent-length: 1\r\n\r\n", &[0xff; 20_000]] {
            assert!(Head::read(text).is_err(), "{text:?}");
        }
        assert!(Head::read(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").is_err());
    }
}
