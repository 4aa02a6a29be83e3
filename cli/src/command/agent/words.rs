//! What the uplink and the updater say to each other: JSON in packets that are whole or not there, whoever is killed in the middle. Each
//! is bounded and refuses what it does not know, on both sides; whatever the uplink says is a stranger's word.
//!
//! Every question has a number, drawn at random, which is that of its answers: whoever is started anew takes none that is another's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{recv, send, socketpair, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use watertight_fleet_agent::machine::{Asker, Fetched};
use watertight_fleet_agent::pace::AWAKE_EVERY;
use watertight_fleet_wire::checkin::{ContentPart, ProtectionPart};
use watertight_fleet_wire::limits::{ID_BYTES_MAX, NAME_BYTES_MAX};

/// Longest packet; a fetch with all that it may tell has a third of it.
const PACKET_BYTES_MAX: usize = 64 << 10;
/// Most that a fetch tells of what it installed, and of what was refused: a director wants one pack of a name.
const TOLD_MAX: usize = 16;
/// Longest text of a reason, in characters.
const WHY_CHARACTERS_MAX: usize = 512;

/// What every check-in asks.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Question {
    /// How things stand.
    Look,
    /// Why this content is in quarantine, if it is.
    Quarantined { content: String },
}

/// Its answer.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Answer {
    /// With content whose trials had no end, and why: typed, so that nobody has to find it out of words.
    Look {
        content: ContentPart,
        protection: ProtectionPart,
        unended: Vec<(String, String)>,
    },
    Quarantined {
        why: Option<String>,
    },
}

/// What becomes of a fetch.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Progress {
    /// It is under way; more is said.
    Going,
    /// It has ended.
    Ended(Fetched),
}

/// A packet.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Packet<T> {
    pub(super) number: u64,
    pub(super) said: T,
}

/// Both ends of a line.
///
/// # Errors
/// The kernel has no room for it.
pub(super) fn line() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// An end of a line.
#[derive(Debug)]
pub(super) struct End(OwnedFd);

impl End {
    /// The end that this process was started with under this descriptor.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn inherit(fd: impl AsFd) -> io::Result<Self> {
        fd.as_fd().try_clone_to_owned().map(Self)
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// Nobody takes it, or it is longer than a packet may be.
    pub(super) fn send<T: Serialize>(&self, number: u64, said: T) -> io::Result<()> {
        let packet = serde_json::to_vec(&Packet { number, said })?;
        if packet.len() > PACKET_BYTES_MAX {
            return Err(io::Error::other(format!("a packet of {} bytes is longer than any", packet.len())));
        }
        send(&self.0, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next packet; `None` if none comes by then.
    ///
    /// # Errors
    /// It is none of ours (`InvalidData`), or none comes any more.
    pub(super) fn receive<T: DeserializeOwned>(&self, longest: Duration) -> io::Result<Option<Packet<T>>> {
        let until = Instant::now().checked_add(longest);
        loop {
            let left = until.map_or(longest, |until| until.saturating_duration_since(Instant::now()));
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut packet = vec![0_u8; PACKET_BYTES_MAX];
            let (_, bytes) = match recv(&self.0, packet.as_mut_slice(), RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Err(Errno::AGAIN | Errno::INTR) => continue,
                received => received?,
            };
            let packet = packet.get(..bytes).ok_or(io::ErrorKind::InvalidData)?; // longer than any
            if packet.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return serde_json::from_slice(packet).map(Some).map_err(|_| io::ErrorKind::InvalidData.into());
        }
    }

    /// The newest packet, waited for as long as it takes: who asked what came before has given up, or is gone.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub(super) fn newest<T: DeserializeOwned>(&self) -> io::Result<Packet<T>> {
        let mut newest = loop {
            if let Some(packet) = self.receive(AWAKE_EVERY)? {
                break packet;
            }
        };
        while let Some(later) = self.receive(Duration::ZERO)? {
            newest = later;
        }
        Ok(newest)
    }
}

/// Whether these may become arguments of a command: the names that a server gives.
///
/// # Errors
/// Which is none.
pub(super) fn checked(asker: &Asker) -> Result<(), String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    let is_name = |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_letter);
    let Asker { host, ring, stratum } = asker;
    let named = [("host", host), ("ring", ring), ("stratum", stratum)];
    match named.into_iter().find(|(_, name)| !is_name(name)) {
        Some((what, name)) => Err(format!("{name:?} is no name of a {what}")),
        None => Ok(()),
    }
}

/// Whether content may be called so.
pub(super) fn is_content(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What fits into a packet.
pub(super) fn bounded(mut found: Fetched) -> Fetched {
    found.installed.truncate(TOLD_MAX);
    found.refused = bounded_reasons(found.refused);
    found.failed = found.failed.as_deref().map(short);
    found.director_refused = found.director_refused.as_deref().map(short);
    found
}

/// The same, of content with its reason.
pub(super) fn bounded_reasons(mut reasons: Vec<(String, String)>) -> Vec<(String, String)> {
    reasons.truncate(TOLD_MAX);
    reasons.iter_mut().for_each(|(_, why)| *why = short(why));
    reasons
}

/// A reason that fits into a packet.
pub(super) fn short(why: &str) -> String {
    why.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(WHY_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (End, End) {
        let (one, other) = line().expect("sockets");
        (End(one), End(other))
    }

    #[test]
    fn what_is_sent_is_received_whole_and_only_the_newest_question_is_answered() {
        let (uplink, updater) = ends();
        for number in 1..=3 {
            uplink.send(number, Question::Quarantined { content: "c".repeat(64) }).expect("taken");
        }
        let newest = updater.newest::<Question>().expect("a question");
        assert_eq!((newest.number, newest.said), (3, Question::Quarantined { content: "c".repeat(64) }));
        assert!(updater.receive::<Question>(Duration::ZERO).expect("nothing wrong").is_none());
    }

    #[test]
    fn what_is_unknown_cut_or_too_long_is_refused_and_what_comes_after_it_is_heard() {
        let (uplink, updater) = ends();
        let long =
            format!(r#"{{"number":1,"said":{{"quarantined":{{"content":"{}"}}}}}}"#, "c".repeat(PACKET_BYTES_MAX));
        for packet in [
            "{",
            r#"{"number":1,"said":"exec"}"#,
            r#"{"number":1,"said":"look","more":1}"#,
            r#"{"number":-1,"said":"look"}"#,
            r#"{"number":1,"said":{"quarantined":{"content":"c","file":"/etc"}}}"#,
            &long,
        ] {
            send(&uplink.0, packet.as_bytes(), SendFlags::empty()).expect("taken");
            let refused = updater.receive::<Question>(Duration::ZERO).expect_err(packet);
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{packet}");
        }
        uplink.send(7, Question::Look).expect("taken");
        assert_eq!(updater.newest::<Question>().expect("a question").number, 7);
    }

    #[test]
    fn whoever_is_not_listened_to_waits_for_nobody() {
        let (uplink, _updater) = ends();
        let refused = (0..100_000).find_map(|number| uplink.send(number, Question::Look).err()).expect("it is full");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_name_that_is_an_option_a_path_or_two_arguments_is_no_option_and_other_names_are_refused() {
        let asker = |name: &str| Asker { host: "h-1".into(), ring: name.into(), stratum: "s-early-6-1".into() };
        for name in ["early", "EMEA_2", "ops@site.1", "--to"] {
            // `--ring=--to` is a ring of that name.
            assert_eq!(checked(&asker(name)), Ok(()), "{name}");
        }
        for name in ["", "a b", "a/b", "a\0b", "a\nb", "a=b", "\u{e9}", &"x".repeat(257)] {
            assert!(checked(&asker(name)).is_err(), "{name:?}");
        }
        assert!(is_content(&"a".repeat(64)) && !is_content("../x") && !is_content(""));
    }

    #[test]
    fn the_longest_outcome_fits_into_a_packet() {
        let (updater, uplink) = ends();
        let why = "\u{1f4a5}\"\n".repeat(10_000);
        let refused = vec![("c".repeat(64), why.clone()); 100];
        let installed = vec!["c".repeat(64); 100];
        let found =
            Fetched { installed, refused, failed: Some(why.clone()), director_refused: Some(why), is_paused: false };
        updater.send(1, Progress::Ended(bounded(found))).expect("it fits");
        let told = uplink.newest::<Progress>().expect("an outcome").said;
        assert!(matches!(told, Progress::Ended(Fetched { refused, .. }) if refused.len() == TOLD_MAX));
        let content = ContentPart { id: "c".repeat(64), slot: "factory".into(), ..ContentPart::default() };
        let missing = vec!["\u{20ac}".repeat(NAME_BYTES_MAX / 4); 16];
        let protection = ProtectionPart { level: "observe".into(), missing };
        let unended = bounded_reasons(vec![("c".repeat(64), "\u{1f4a5}\"\n".repeat(10_000)); 100]);
        let look = Answer::Look { content, protection, unended };
        updater.send(2, &look).expect("it fits");
        assert_eq!(uplink.newest::<Answer>().expect("an answer").said, look);
    }
}
