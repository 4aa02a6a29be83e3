//! What agents do wrong, one after the other, each with what the server must answer, and an ordinary agent beside it that must not notice.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use watertight_fleet_agent::clock::now_ms;
use watertight_fleet_wire::limits::CHECK_IN_BYTES_MAX;
use watertight_fleet_wire::protocol::{write, NEWEST, PROTOCOL_HEADER};
use watertight_fleet_wire::{CheckIn, CheckInAnswer};

use crate::agent::Agent;
use crate::connection::{Answer, Connection, Failure, ANSWER_WAIT};
use crate::identity::Fresh;
use crate::operator::Operator;
use crate::target::{Credentials, Target};

const CHECK_IN: &str = "/v1/agent/checkin";
/// Times that a line of a scene file may ask for.
const TIMES_MAX: u32 = 1_000;
const YEAR_MS: u64 = 365 * 24 * 3_600_000;
const DAY_MS: u64 = 24 * 3_600_000;
/// A slow reader takes so much, and then rests.
const SIP_BYTES: usize = 512;
const SIP_REST: Duration = Duration::from_millis(5);

/// Do what agents do wrong, and compare the answers
#[derive(Clone, Debug, clap::Args)]
pub struct FaultsArgs {
    /// A token for enrolment, for one use a fault and one more
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// A line a fault, and how many times: `half-request 5`; without it each is done once
    #[arg(long, value_name = "FILE")]
    pub scene: Option<PathBuf>,
}

/// What an agent does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The connection ends in the middle of a check-in.
    HalfRequest,
    /// An answer is taken a little at a time.
    SlowReader,
    /// The body is no JSON.
    NoJson,
    /// The body has a field that nobody knows.
    UnknownField,
    /// The body is larger than is read.
    TooLarge,
    /// Nothing says in which protocol the request is.
    NoProtocol,
    /// A check-in comes again, and one from before it.
    RepeatedSequence,
    /// A certificate is shown that another took the place of.
    StaleCertificate,
    /// No certificate is shown.
    NoCertificate,
    /// The host's clock is a year ahead.
    ClockAhead,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::HalfRequest,
        Self::SlowReader,
        Self::NoJson,
        Self::UnknownField,
        Self::TooLarge,
        Self::NoProtocol,
        Self::RepeatedSequence,
        Self::StaleCertificate,
        Self::NoCertificate,
        Self::ClockAhead,
    ];

    /// As scene files call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HalfRequest => "half-request",
            Self::SlowReader => "slow-reader",
            Self::NoJson => "no-json",
            Self::UnknownField => "unknown-field",
            Self::TooLarge => "too-large",
            Self::NoProtocol => "no-protocol",
            Self::RepeatedSequence => "repeated-sequence",
            Self::StaleCertificate => "stale-certificate",
            Self::NoCertificate => "no-certificate",
            Self::ClockAhead => "clock-ahead",
        }
    }

    /// What must come of it.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Self::HalfRequest => "nothing of it is taken",
            Self::SlowReader => "200, whole",
            Self::NoJson | Self::UnknownField => "400 form",
            Self::TooLarge => "413 too_large",
            Self::NoProtocol => "400 protocol",
            Self::RepeatedSequence => "200, and nothing changes",
            Self::StaleCertificate | Self::NoCertificate => "401 unauthenticated",
            Self::ClockAhead => "200, and the distance is told",
        }
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == name);
        found.with_context(|| format!("{name:?}: the faults are {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// What came of a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which.
    pub fault: Fault,
    /// What the server answered, in the words of `expected` where it was that.
    pub answered: String,
    /// It was what must come of it, and the ordinary agent was served.
    pub is_expected: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// In the order in which they were done.
    pub outcomes: Vec<Outcome>,
    /// Check-ins of the ordinary agent, one after each fault; all were answered.
    pub ordinary_check_ins: u64,
}

impl Faults {
    /// Whether each was.
    #[must_use]
    pub fn are_answered_as_they_should(&self) -> bool {
        !self.outcomes.is_empty() && self.outcomes.iter().all(|outcome| outcome.is_expected)
    }

    /// In a line a fault.
    #[must_use]
    pub fn said(&self) -> String {
        let lines = self.outcomes.iter().map(|outcome| {
            let (name, expected) = (outcome.fault.name(), outcome.fault.expected());
            let verdict = if outcome.is_expected { "ok" } else { "NOT EXPECTED" };
            format!("{name}: {} [{expected}] {verdict}", outcome.answered)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Reads a scene: `name` or `name times` on a line; what is behind # is for people.
///
/// # Errors
/// A line is neither.
pub fn read_scene(text: &str) -> anyhow::Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, times) = match words.as_slice() {
            [] => continue,
            [name] => (*name, 1),
            [name, times] => (*name, times.parse().ok().filter(|times| (1..=TIMES_MAX).contains(times)).unwrap_or(0)),
            _ => ("", 0),
        };
        anyhow::ensure!(times > 0, "line {}: a fault, and how many times (1 to {TIMES_MAX})", number.saturating_add(1));
        let fault: Fault = name.parse().with_context(|| format!("line {}", number.saturating_add(1)))?;
        faults.extend(std::iter::repeat_n(fault, times as usize));
    }
    anyhow::ensure!(!faults.is_empty(), "there is no fault in it");
    Ok(faults)
}

/// Does them.
///
/// # Errors
/// The server is not there, or does not serve an ordinary agent.
pub async fn run(target: &Arc<Target>, args: &FaultsArgs) -> anyhow::Result<Faults> {
    let token = std::fs::read_to_string(&args.token_file);
    let token = token.with_context(|| format!("reading {}", args.token_file.display()))?.trim().to_owned();
    let faults = match &args.scene {
        None => Fault::ALL.to_vec(),
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            read_scene(&text).with_context(|| file.display().to_string())?
        }
    };
    let scene = Scene { target, token };
    let mut ordinary = scene.enrol(0).await?.agent;
    let mut found = Faults { outcomes: Vec::new(), ordinary_check_ins: 0 };
    for (number, fault) in faults.into_iter().enumerate() {
        let agent = scene.enrol(number.saturating_add(1)).await?;
        let answered = scene.commit(fault, agent).await.with_context(|| fault.name())?;
        ordinary.check_in(target).await.with_context(|| format!("an ordinary check-in after {}", fault.name()))?;
        found.ordinary_check_ins = found.ordinary_check_ins.saturating_add(1);
        let is_expected = answered == fault.expected();
        found.outcomes.push(Outcome { fault, answered, is_expected });
    }
    Ok(found)
}

struct Scene<'a> {
    target: &'a Arc<Target>,
    token: String,
}

/// An agent that is known to the server, with a second connection for what it does wrong.
struct Enrolled {
    agent: Agent,
    connection: Connection,
}

impl Scene<'_> {
    async fn enrol(&self, number: usize) -> anyhow::Result<Enrolled> {
        let kept = Fresh::new()?.enrol(&mut self.target.connect(None).await?, &self.token, number).await?;
        let mut agent = Agent::new(&kept, number)?;
        agent.settle(self.target).await?;
        let connection = self.target.connect(Some(&Credentials::read(&kept)?)).await?;
        Ok(Enrolled { agent, connection })
    }

    /// What the server knows of a host.
    async fn seen(&self, agent: &Agent) -> anyhow::Result<Value> {
        let mut host: Value = Operator(self.target).get(&format!("/v1/hosts/{}", agent.host)).await?;
        Ok(host.get_mut("seen").map(Value::take).unwrap_or_default())
    }

    /// Does it, and says what came of it.
    async fn commit(&self, fault: Fault, mut one: Enrolled) -> anyhow::Result<String> {
        let (agent, wrong) = (&mut one.agent, &mut one.connection);
        let told = agent.next_check_in();
        match fault {
            Fault::HalfRequest => self.half_request(agent, one.connection, told).await,
            Fault::SlowReader => self.slow_reader(agent, wrong).await,
            Fault::NoJson => refusal(&wrong.ask("POST", CHECK_IN, "", b"{", ANSWER_WAIT).await?),
            Fault::UnknownField => {
                let mut body = serde_json::to_value(&told)?;
                body.as_object_mut().context("an object")?.insert("colour".to_owned(), 2.into());
                refusal(&wrong.ask("POST", CHECK_IN, "", body.to_string().as_bytes(), ANSWER_WAIT).await?)
            }
            Fault::TooLarge => {
                let body = vec![b' '; CHECK_IN_BYTES_MAX.saturating_add(1)];
                refusal(&wrong.ask("POST", CHECK_IN, "", &body, ANSWER_WAIT).await?)
            }
            Fault::NoProtocol => {
                wrong
                    .send(
                        format!("POST {CHECK_IN} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}")
                            .as_bytes(),
                    )
                    .await?;
                refusal(&wrong.answer(ANSWER_WAIT).await?)
            }
            Fault::RepeatedSequence => self.repeated(agent, wrong, told).await,
            Fault::StaleCertificate => self.stale_certificate(wrong, &told).await,
            Fault::NoCertificate => {
                let body = write(NEWEST, &told);
                refusal(&self.target.connect(None).await?.ask("POST", CHECK_IN, "", &body, ANSWER_WAIT).await?)
            }
            Fault::ClockAhead => self.clock_ahead(agent, wrong, told).await,
        }
    }

    async fn half_request(
        &self,
        agent: &mut Agent,
        mut wrong: Connection,
        mut told: CheckIn,
    ) -> anyhow::Result<String> {
        let before = self.seen(agent).await?;
        told.sequence = told.sequence.saturating_add(1_000);
        let body = write(NEWEST, &told);
        let (half, _) = body.split_at(body.len() / 2);
        let head = format!(
            "POST {CHECK_IN} HTTP/1.1\r\nhost: localhost\r\n{PROTOCOL_HEADER}: {NEWEST}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        wrong.send(&[head.as_bytes(), half].concat()).await?;
        drop(wrong);
        let after = self.seen(agent).await?;
        // On a new connection all is as usual, and the half has not been taken since.
        agent.drop_connection();
        agent.check_in(self.target).await?;
        let last = self.seen(agent).await?;
        let is_own = last.get("sequence").and_then(Value::as_u64).is_some_and(|sequence| sequence < told.sequence);
        Ok(same_or(before == after && is_own, Fault::HalfRequest, &last))
    }

    async fn slow_reader(&self, agent: &mut Agent, wrong: &mut Connection) -> anyhow::Result<String> {
        let whole = {
            let mut connection = self.target.connect(None).await?;
            connection.ask("GET", "/v1/openapi.json", "", &[], ANSWER_WAIT).await?.body.to_vec()
        };
        wrong.send(b"GET /v1/openapi.json HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await?;
        let slowly = async { Ok::<_, Failure>(wrong.answer_slowly(SIP_BYTES, SIP_REST).await?.body == whole) };
        // While it sips, the same host checks in.
        let (is_whole, beside) = tokio::join!(slowly, agent.check_in(self.target));
        beside?;
        Ok(if is_whole? { Fault::SlowReader.expected().to_owned() } else { "200, cut".to_owned() })
    }

    async fn repeated(&self, agent: &Agent, wrong: &mut Connection, told: CheckIn) -> anyhow::Result<String> {
        let _: CheckInAnswer = wrong.post(CHECK_IN, &told).await?;
        let before = self.seen(agent).await?;
        let old = CheckIn { generation: 999, clock_ms: told.clock_ms.saturating_add(YEAR_MS), ..told };
        let older = CheckIn { sequence: old.sequence.saturating_sub(1), ..old.clone() };
        for replayed in [&old, &older] {
            let _: CheckInAnswer = wrong.post(CHECK_IN, replayed).await?;
        }
        let after = self.seen(agent).await?;
        Ok(same_or(before == after, Fault::RepeatedSequence, &after))
    }

    async fn stale_certificate(&self, stale: &mut Connection, told: &CheckIn) -> anyhow::Result<String> {
        let kept = Fresh::new()?.renew(stale).await?;
        let mut renewed = self.target.connect(Some(&Credentials::read(&kept)?)).await?;
        let _: CheckInAnswer = renewed.post(CHECK_IN, told).await?;
        let late = CheckIn { sequence: told.sequence.saturating_add(1), ..told.clone() };
        refusal(&stale.ask("POST", CHECK_IN, "", &write(NEWEST, &late), ANSWER_WAIT).await?)
    }

    async fn clock_ahead(&self, agent: &Agent, wrong: &mut Connection, told: CheckIn) -> anyhow::Result<String> {
        let told = CheckIn { clock_ms: told.clock_ms.saturating_add(YEAR_MS), ..told };
        let answer: CheckInAnswer = wrong.post(CHECK_IN, &told).await?;
        let seen = self.seen(agent).await?;
        let ahead_ms = seen.get("clock_ahead_ms").and_then(Value::as_u64).unwrap_or(0);
        let is_told = ahead_ms.abs_diff(YEAR_MS) < DAY_MS && answer.clock_ms.abs_diff(now_ms()) < DAY_MS;
        Ok(same_or(is_told, Fault::ClockAhead, &seen))
    }
}

/// What a fault must come to, or what the server has now.
fn same_or(is_so: bool, fault: Fault, seen: &Value) -> String {
    if is_so {
        fault.expected().to_owned()
    } else {
        format!("the server has {seen}")
    }
}

/// Status and code of a refusal.
fn refusal(answer: &Answer<'_>) -> anyhow::Result<String> {
    let body: Value = serde_json::from_slice(answer.body)?;
    Ok(format!("{} {}", answer.status, body.get("code").and_then(Value::as_str).unwrap_or("(no code)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_is_a_line_a_fault() {
        let faults = read_scene("# two kinds\nhalf-request 2\n\n  clock-ahead # once\n").expect("a scene");
        assert_eq!(faults, [Fault::HalfRequest, Fault::HalfRequest, Fault::ClockAhead]);
        for fault in Fault::ALL {
            assert_eq!(read_scene(fault.name()).expect("a scene"), [fault]);
        }
    }

    #[test]
    fn a_line_that_is_no_fault_is_told_with_those_that_there_are() {
        let refused = format!("{:#}", read_scene("half-request\nsloth 2").expect_err("no fault"));
        assert!(refused.contains("line 2") && refused.contains("slow-reader"), "{refused}");
        for text in ["half-request 0", "half-request 1001", "half-request x", "half-request 1 1", "", "# nothing"] {
            assert!(read_scene(text).is_err(), "{text:?}");
        }
    }
}
