//! The updater, as the uplink asks it. It may be dead or hang at any time: then how things stand is not known, nothing is fetched, and
//! check-ins go on.

use std::io;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::Serialize;
use watertight_fleet_agent::clock::random_up_to;
use watertight_fleet_agent::machine::{Asker, Fetched, Fetcher, Machine};
use watertight_fleet_wire::checkin::{ContentPart, ProtectionPart};

use super::words::{Answer, End, Packet, Progress, Question};

/// Longest that a check-in waits for an answer. The parent ends an updater that takes no question for longer than some of these.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// An updater at work tells of a fetch every second.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// No fetch takes longer: one pack after the other, each as long as a command may take.
const FETCH_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// How things stand, by its word.
#[derive(Debug)]
pub(super) struct Remote {
    questions: End,
    say: fn(&str),
    is_silent: bool,
    protection: ProtectionPart,
    unended: Vec<(String, String)>,
}

impl Remote {
    pub(super) fn new(questions: End, say: fn(&str)) -> Self {
        Self { questions, say, is_silent: false, protection: unknown(), unended: Vec::new() }
    }

    fn ask(&mut self, question: Question) -> Option<Answer> {
        let number = ask(&self.questions, question);
        let answer = number.and_then(|number| answer(&self.questions, number, Instant::now() + ANSWER_MAX));
        let is_silent = answer.is_none();
        if is_silent != self.is_silent {
            (self.say)(match is_silent {
                true => "the updater gives no answer: what this host runs is not told until it does",
                false => "the updater answers again",
            });
            self.is_silent = is_silent;
        }
        answer
    }
}

impl Machine for Remote {
    fn content(&mut self) -> ContentPart {
        match self.ask(Question::Look) {
            Some(Answer::Look { content, protection, unended }) => {
                (self.protection, self.unended) = (protection, unended);
                content
            }
            _ => {
                (self.protection, self.unended) = (unknown(), Vec::new());
                ContentPart { slot: "none".into(), ..ContentPart::default() }
            }
        }
    }

    /// As of when the content was asked.
    fn protection(&mut self) -> ProtectionPart {
        self.protection.clone()
    }

    fn unended(&mut self) -> Vec<(String, String)> {
        self.unended.clone()
    }

    fn quarantined(&mut self, content: &str) -> Option<String> {
        match self.ask(Question::Quarantined { content: content.to_owned() }) {
            Some(Answer::Quarantined { why }) => why,
            _ => None,
        }
    }
}

fn unknown() -> ProtectionPart {
    ProtectionPart { level: "unknown".into(), missing: Vec::new() }
}

/// Fetches, by its hands.
#[derive(Debug)]
pub(super) struct RemoteFetcher(pub(super) End);

impl Fetcher for RemoteFetcher {
    fn fetch(&mut self, asker: &Asker) -> Fetched {
        let failed = |why: &str| Fetched { failed: Some(why.to_owned()), ..Fetched::default() };
        let Some(number) = ask(&self.0, asker) else { return failed("the updater takes no question") };
        let until = Instant::now() + FETCH_MAX;
        while Instant::now() < until {
            match answer(&self.0, number, Instant::now() + SILENCE_MAX) {
                Some(Progress::Going) => {}
                Some(Progress::Ended(fetched)) => return fetched,
                None => return failed("the updater says nothing of it any more"),
            }
        }
        failed("it did not end")
    }
}

/// Asks; gives the number of the question. What was left to somebody before is taken away first, to make room for its answer.
fn ask(line: &End, question: impl Serialize) -> Option<u64> {
    while let Ok(Some(_)) | Err(_) = drained(line) {}
    let number = random_up_to(u64::MAX);
    line.send(number, question).ok().map(|()| number)
}

/// One packet of whatever kind; `None` where there is no more, also because the line is gone.
fn drained(line: &End) -> io::Result<Option<()>> {
    match line.receive::<serde::de::IgnoredAny>(Duration::ZERO) {
        Err(error) if error.kind() != io::ErrorKind::InvalidData => Ok(None),
        packet => Ok(packet?.map(drop)),
    }
}

/// The next answer to this question, if one comes by then.
fn answer<T: DeserializeOwned>(line: &End, number: u64, until: Instant) -> Option<T> {
    loop {
        match line.receive(until.saturating_duration_since(Instant::now())) {
            Ok(Some(Packet { number: of, said })) if of == number => return Some(said),
            Ok(Some(_)) => {} // to somebody before
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::words::line;
    use super::*;

    fn ends() -> (End, End) {
        let (one, other) = line().expect("sockets");
        (End::inherit(one).expect("an end"), End::inherit(other).expect("an end"))
    }

    #[test]
    fn an_updater_that_hangs_makes_everything_unknown_and_one_that_answers_again_is_believed() {
        let (uplink, updater) = ends();
        let mut remote = Remote::new(uplink, |_| ());
        let nothing = remote.content();
        assert_eq!((nothing.slot.as_str(), nothing.id.as_str()), ("none", ""));
        assert_eq!((remote.protection().level.as_str(), remote.unended()), ("unknown", Vec::new()));

        let content = ContentPart { id: "c".into(), slot: "candidate".into(), ..ContentPart::default() };
        let said = content.clone();
        let answers = thread::spawn(move || {
            let asked = updater.newest::<Question>().expect("a question");
            // What another asked, and nonsense, come before it.
            let answer = |number, level: &str| {
                let protection = ProtectionPart { level: level.into(), missing: Vec::new() };
                let unended = vec![("bad".to_owned(), "it went down".to_owned())];
                updater.send(number, Answer::Look { content: said.clone(), protection, unended }).expect("taken");
            };
            answer(asked.number.wrapping_add(1), "enforce");
            updater.send(asked.number, "nonsense").expect("taken");
            answer(asked.number, "observe");
        });
        assert_eq!(remote.content(), content);
        assert_eq!(remote.protection().level, "observe");
        assert_eq!(remote.unended(), [("bad".to_owned(), "it went down".to_owned())]);
        answers.join().expect("no panic there");
    }

    #[test]
    fn a_fetch_is_waited_for_as_long_as_it_is_told_of() {
        let (uplink, updater) = ends();
        let found = Fetched { installed: vec!["c".into()], ..Fetched::default() };
        let said = found.clone();
        let answers = thread::spawn(move || {
            let asked = updater.newest::<Asker>().expect("a question");
            assert_eq!(asked.said.ring, "early");
            for _ in 0..3 {
                updater.send(asked.number, Progress::Going).expect("taken");
            }
            updater.send(asked.number, Progress::Ended(said)).expect("taken");
            updater
        });
        let mut fetcher = RemoteFetcher(uplink);
        assert_eq!(fetcher.fetch(&Asker { ring: "early".into(), ..Asker::default() }), found);
        drop(answers.join().expect("no panic there"));
        let gone = fetcher.fetch(&Asker::default());
        assert!(gone.failed.is_some(), "{gone:?}");
    }
}
