//! A virtual agent: it checks in and waits as a real one does, and keeps nothing on disk.

use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use watertight_fleet_agent::clock::now_ms;
use watertight_fleet_agent::pace::BackOff;
use watertight_fleet_wire::checkin::{ContentPart, ProtectionPart, State};
use watertight_fleet_wire::limits::WAIT_S_MAX;
use watertight_fleet_wire::{CheckIn, CheckInAnswer, Code, WaitAnswer};

use crate::connection::{Connection, Failure};
use crate::identity::{virtual_host, Kept};
use crate::target::{Credentials, Target};

/// Handshakes at a time while agents gather: more would only wait in the kernel's queue.
const HANDSHAKES_AT_ONCE: usize = 64;
/// Check-ins until the server knows all of the state: it asks once.
const SETTLING_MAX: u32 = 3;
/// Tries of an agent that gathers. One that is turned away comes again, but not for ever.
const TRIES_MAX: u32 = 20;
/// How much longer than the server says the doorbell is waited for: it spreads its answers.
const WAIT_LONGER: Duration = Duration::from_secs(30);

/// An agent.
#[derive(Debug)]
pub struct Agent {
    /// The host's id.
    pub host: String,
    number: usize,
    own: Credentials,
    connection: Option<Connection>,
    instance: String,
    sequence: u64,
    needs_full_state: bool,
    /// The newest generation that it heard of.
    pub generation: u64,
    /// Its waits after what goes wrong.
    pub back_off: BackOff,
}

impl Agent {
    /// One that has not spoken yet.
    ///
    /// # Errors
    /// The identity is none.
    pub fn new(kept: &Kept, number: usize) -> anyhow::Result<Self> {
        let mut bytes = [0_u8; 8];
        SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
        Ok(Self {
            host: kept.host.clone(),
            number,
            own: Credentials::read(kept)?,
            connection: None,
            instance: format!("{:016x}", u64::from_ne_bytes(bytes)),
            sequence: 0,
            needs_full_state: false,
            generation: 0,
            back_off: BackOff::default(),
        })
    }

    /// The connection, made if there is none.
    ///
    /// # Errors
    /// It can't be made.
    pub async fn connection(&mut self, target: &Target) -> Result<&mut Connection, Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => target.connect(Some(&self.own)).await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Ends the connection without a word.
    pub fn drop_connection(&mut self) {
        self.connection = None;
    }

    /// The next check-in, as it would be sent.
    pub fn next_check_in(&mut self) -> CheckIn {
        self.sequence = self.sequence.saturating_add(1);
        let state = || State {
            host: Some(virtual_host(self.number)),
            content: Some(ContentPart { slot: "none".to_owned(), ..ContentPart::default() }),
            protection: Some(ProtectionPart { level: "observe".to_owned(), missing: Vec::new() }),
        };
        CheckIn {
            sequence: self.sequence,
            instance: self.instance.clone(),
            boot: "virtual".to_owned(),
            clock_ms: now_ms(),
            generation: self.generation,
            state_hash: format!("{:016x}", self.number),
            base_hash: None,
            changed: self.needs_full_state.then(state),
        }
    }

    /// Checks in.
    ///
    /// # Errors
    /// The server refuses, or does not answer; then the next one is sent on a new connection.
    pub async fn check_in(&mut self, target: &Target) -> Result<CheckInAnswer, Failure> {
        let told = self.next_check_in();
        let answered = match self.connection(target).await {
            Ok(connection) => connection.post("/v1/agent/checkin", &told).await,
            Err(failure) => Err(failure),
        };
        let answer: CheckInAnswer = self.noted(answered)?;
        self.needs_full_state = answer.need_full_state;
        self.generation = answer.generation;
        Ok(answer)
    }

    /// Waits for the doorbell.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn wait(&mut self, target: &Target) -> Result<u64, Failure> {
        let path = format!("/v1/agent/wait?generation={}", self.generation);
        let wait = Duration::from_secs(WAIT_S_MAX).saturating_add(WAIT_LONGER);
        let answered = match self.connection(target).await {
            Ok(connection) => match connection.ask("GET", &path, "", &[], wait).await {
                Ok(answer) => answer.told(),
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        let answer: WaitAnswer = self.noted(answered)?;
        self.generation = answer.generation;
        Ok(answer.generation)
    }

    /// Checks in until the server knows its state.
    ///
    /// # Errors
    /// As `check_in`, or it never does.
    pub async fn settle(&mut self, target: &Target) -> Result<(), Failure> {
        for _ in 0..SETTLING_MAX {
            if !self.check_in(target).await?.need_full_state {
                return Ok(());
            }
        }
        Err(Failure::Unreadable(format!("the server asks for the state {SETTLING_MAX} times")))
    }

    /// Settles as an agent does whose server may have no time: it waits, and comes again. Gives how often it failed.
    ///
    /// # Errors
    /// It was refused for good, or too often.
    pub async fn settle_in_time(&mut self, target: &Target) -> Result<u32, Failure> {
        let mut failures = 0_u32;
        loop {
            match self.settle(target).await {
                Ok(()) => {
                    self.back_off.succeeded();
                    return Ok(failures);
                }
                Err(failure) => {
                    failures = failures.saturating_add(1);
                    let is_final = failure.code().is_some_and(|code| code != Code::Busy && code != Code::Internal);
                    if is_final || failures >= TRIES_MAX {
                        return Err(failure);
                    }
                    tokio::time::sleep(self.back_off.failed(failure.retry_after_ms())).await;
                }
            }
        }
    }

    fn noted<T>(&mut self, answered: Result<T, Failure>) -> Result<T, Failure> {
        if answered.as_ref().is_err_and(|failure| !failure.keeps_connection()) {
            self.connection = None;
        }
        answered
    }
}

/// Agents that are connected and settled, and how often one of them had to come again.
///
/// # Errors
/// One of them can't get in.
pub async fn gather(target: &Arc<Target>, kept: &[Kept]) -> anyhow::Result<(Vec<Agent>, u64)> {
    let room = Arc::new(Semaphore::new(HANDSHAKES_AT_ONCE));
    let mut gathering = JoinSet::new();
    for (number, kept) in kept.iter().enumerate() {
        let (mut agent, target, room) = (Agent::new(kept, number)?, Arc::clone(target), Arc::clone(&room));
        gathering.spawn(async move {
            let _place = room.acquire().await;
            agent.settle_in_time(&target).await.map(|failures| (agent, failures))
        });
    }
    let mut agents = Vec::with_capacity(kept.len());
    let mut again = 0_u64;
    while let Some(gathered) = gathering.join_next().await {
        let (agent, failures) = gathered??;
        again = again.saturating_add(u64::from(failures));
        agents.push(agent);
    }
    Ok((agents, again))
}
