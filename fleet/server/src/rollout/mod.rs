//! Rollouts, carried out: what hosts say goes to the gate, what the gate decides is stored, and the director's document follows.
//!
//! ```text
//! start.rs     a wish -> pack, plan, rollout            turn.rs      whose turn it is: rings, and their hosts that are online
//! live.rs      a rollout as it is held: journal, clock, hosts
//! carry.rs     each moment: look, store, take in        evidence.rs  records of hosts -> inputs
//! director.rs  rollouts -> the signed document          tell.rs      status, and why a host runs what it runs
//! rings.rs     what customers say of their rings       later.rs     rings whose turn comes after the rollout
//! newcomers.rs hosts that were not there when it was planned
//! ```
//! Inputs are stored before anything follows from them, and all that follows can be had again from them (`watertight-fleet`, `rollout`):
//! a server that was killed stands where it stood. The journal's numbers are what keeps two that carry out one rollout apart.

mod carry;
pub mod director;
mod evidence;
mod later;
mod live;
mod newcomers;
mod rings;
mod start;
mod tell;
mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use watertight_fleet::rollout::{Input, State};

use crate::server::Server;
use crate::store::{AuditEntry, StoreError};
use director::Keys;
use live::Live;

pub use rings::{LeftOut, RingAnswer};
pub use start::{PlanAnswer, PlannedStage, Wish};
pub use tell::{DecisionAnswer, RolloutAnswer, WhyAnswer};

/// Why a rollout is not begun or not changed.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// It does not go with what is under way.
    #[error("{0}")]
    Conflict(String),
    /// No ring may begin it now, or none that may has a host online.
    #[error("{why}")]
    NotYet {
        /// In words.
        why: String,
        /// When that may be otherwise.
        until: Box<later::Until>,
    },
    /// What was asked for can't be.
    #[error("{0}")]
    Form(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All rollouts of the server.
#[derive(Debug, Default)]
pub struct Rollouts {
    keys: Option<std::sync::Arc<Keys>>,
    folder: PathBuf,
    held: tokio::sync::Mutex<Held>,
    /// Evidence has come since the last look.
    has_news: AtomicBool,
    /// How often the content repository was read and verified.
    repository_reads: AtomicU64,
    /// Why the director's document is not what it should be; empty if it is.
    trouble: Mutex<String>,
    /// Why rollouts are not carried out; empty if they are.
    standstill: Mutex<String>,
}

/// The rollouts, as they were read and moved on.
#[derive(Debug, Default)]
struct Held {
    is_read: bool,
    rollouts: BTreeMap<u64, Live>,
    policies: rings::Policies,
    /// When the document was compared last, and with what.
    compared: carry::Compared,
    /// When it could not be published.
    failed_ms: u64,
    /// What rings wait for whose turn comes later.
    looks: later::Looks,
    /// Strata of the fleet, and when they were looked for.
    strata: director::Strata,
    strata_ms: u64,
}

impl Rollouts {
    /// Those of a state folder, whose content repository is there. Without keys they are watched, and none is begun.
    #[must_use]
    pub fn new(folder: PathBuf, keys: Option<Keys>) -> Self {
        Self { keys: keys.map(std::sync::Arc::new), folder, ..Self::default() }
    }

    /// Evidence has come.
    pub fn heard(&self) {
        self.has_news.store(true, Ordering::Release);
    }

    /// How often the content repository was read and verified since the start.
    #[must_use]
    pub fn repository_reads(&self) -> u64 {
        self.repository_reads.load(Ordering::Relaxed)
    }

    /// Why the director's document is not what it should be.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let why = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (!why.is_empty()).then_some(why)
    }

    fn set_trouble(&self, why: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why rollouts are not carried out.
    #[must_use]
    pub fn standstill(&self) -> Option<String> {
        let why = self.standstill.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (!why.is_empty()).then_some(why)
    }

    fn set_standstill(&self, why: String) {
        *self.standstill.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// What a person asks of a rollout. `reason` goes into the audit log with `audit`.
    ///
    /// # Errors
    /// There is no such rollout, it is past that, or the store refuses.
    pub async fn change(
        &self,
        server: &Server,
        id: &str,
        input: Input,
        audit: AuditEntry,
    ) -> Result<RolloutAnswer, RolloutError> {
        let mut held = self.held.lock().await;
        self.read(server, &mut held).await?;
        let live = live_of(&mut held, id)?;
        let state = live.running.state();
        let refuse = |why: &str| Err(RolloutError::Conflict(format!("rollout {id} is {}: {why}", state.name())));
        match (input, state) {
            (Input::Abort, State::Halted) => return refuse("nothing of it is left to stop"),
            (Input::Pause | Input::Resume | Input::Promote, State::Halted) => {
                return refuse("a halt is final; begin another")
            }
            (Input::Pause | Input::Resume | Input::Promote, State::Complete | State::Open) => {
                return refuse("it has ended")
            }
            // Where a person paused it as well, that is what ends now.
            (Input::Resume, State::Paused) if !live.running.is_paused() => {
                return refuse("the policy of a ring stopped it, and it goes on by itself: `watertight rollout rings`")
            }
            (Input::Resume, State::Running | State::Holding) => return refuse("it was not paused"),
            (Input::Promote, State::Holding) if live.running.waits_until_ms().is_some() => {
                return refuse("the signed schedule holds it: no host would begin it before")
            }
            (Input::Promote, State::Running | State::Paused) => return refuse("only a hold is ended by a person"),
            _ => {}
        }
        let word = Some(format!("{}: {}", audit.actor, audit.reason));
        self.move_on(server, &mut held, id, vec![input], word, vec![audit]).await?;
        self.follow(server, &mut held).await;
        self.answer(server, &mut held, id).await
    }

    /// Stores inputs of a rollout and takes them in. What can't be stored is forgotten: all is read again.
    async fn move_on(
        &self,
        server: &Server,
        held: &mut Held,
        id: &str,
        inputs: Vec<Input>,
        word: Option<String>,
        audit: Vec<AuditEntry>,
    ) -> Result<(), RolloutError> {
        let now_ms = crate::clock::now_ms();
        let live = live_of(held, id)?;
        let entry = live.entry(inputs, word);
        let moved = live.move_on(&entry, now_ms);
        let number = live.number;
        let stored = match moved {
            Ok((row, rows, decisions)) => {
                let gate = decisions.iter().map(|decision| carry::audit_of(id, decision, now_ms));
                let audit: Vec<AuditEntry> = audit.into_iter().chain(gate).collect();
                server.noted(server.store.append(number, &row, &rows, &audit).await)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            held.is_read = false;
            return Err(match error {
                StoreError::Taken => {
                    RolloutError::Conflict("another server has moved this rollout: look again".to_owned())
                }
                error => error.into(),
            });
        }
        Ok(())
    }

    /// Reads all rollouts, if that is to be done.
    async fn read(&self, server: &Server, held: &mut Held) -> Result<(), StoreError> {
        if held.is_read {
            return Ok(());
        }
        let mut rollouts = BTreeMap::new();
        for row in server.store.rollouts().await? {
            let journal = server.store.journal(row.number).await?;
            let decided = server.store.decisions(row.number, 1).await?;
            rollouts.insert(row.number, Live::read(&row, &journal, decided.first(), &server.hosts)?);
        }
        held.policies = rings::read(server).await?;
        (held.rollouts, held.is_read) = (rollouts, true);
        held.looks.forget();
        self.heard(); // what came while nobody listened
        Ok(())
    }
}

fn live_of<'a>(held: &'a mut Held, id: &str) -> Result<&'a mut Live, RolloutError> {
    let number = id.strip_prefix('r').and_then(|number| number.parse::<u64>().ok());
    let live = number.and_then(|number| held.rollouts.get_mut(&number));
    live.ok_or_else(|| RolloutError::NotFound(format!("rollout {id:?}")))
}
