//! What customers say of their rings: which release a ring may begin, and when. Asked where a rollout is planned, and each moment while
//! one is carried out: a pause begins to hold within the next moment, and ends by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use watertight_content_repo::release::{ContentId, SignedPack};
use watertight_fleet::plan::ring::{admission, Admission, Release, RingPolicy};
use watertight_fleet::rollout::{Running, State};

use super::{Held, RolloutError, Rollouts};
use crate::clock::now_ms;
use crate::hosts::Host;
use crate::server::Server;
use crate::store::{AuditEntry, StoreError};

/// Rings with a policy of their own.
const POLICIES_MAX: usize = 1_000;

/// Policies by ring; a ring without one begins whatever the signed schedule lets it.
pub(super) type Policies = BTreeMap<String, RingPolicy>;

/// A ring as it is told.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RingAnswer {
    /// Its name.
    pub ring: String,
    /// What was said of it.
    pub policy: RingPolicy,
    /// Why it begins nothing now; empty if it may.
    pub closed: String,
    /// Hosts in it that are not revoked: none is mostly a mistake in the name.
    pub hosts: u64,
}

/// A ring that a rollout is not for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeftOut {
    /// Its name.
    pub ring: String,
    /// Why not.
    pub why: String,
    /// When to ask again, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_ms: Option<u64>,
}

impl Rollouts {
    /// All rings of which something was said.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn rings(&self, server: &Server) -> Result<Vec<RingAnswer>, RolloutError> {
        let mut held = self.held.lock().await;
        self.read(server, &mut held).await?;
        Ok(held.policies.iter().map(|(ring, policy)| answer(server, ring, policy)).collect())
    }

    /// Says something else of a ring, in place of what was said before.
    ///
    /// # Errors
    /// The policy can't be followed, or the store refuses.
    pub async fn set_ring(
        &self,
        server: &Server,
        ring: &str,
        policy: RingPolicy,
        audit: AuditEntry,
    ) -> Result<RingAnswer, RolloutError> {
        policy.check(now_ms()).map_err(RolloutError::Form)?;
        let mut held = self.held.lock().await;
        self.read(server, &mut held).await?;
        if !held.policies.contains_key(ring) && held.policies.len() >= POLICIES_MAX {
            return Err(RolloutError::Form(format!("at most {POLICIES_MAX} rings have a policy of their own")));
        }
        let text = serde_json::to_string(&policy).map_err(|error| StoreError::Failed { why: error.to_string() })?;
        server.noted(server.store.put_ring_policy(ring, &text, &audit).await)?;
        let answer = answer(server, ring, &policy);
        held.policies.insert(ring.to_owned(), policy);
        held.looks.forget();
        self.follow(server, &mut held).await;
        Ok(answer)
    }
}

fn answer(server: &Server, ring: &str, policy: &RingPolicy) -> RingAnswer {
    let closed = policy.closed(now_ms()).unwrap_or_default();
    let is_in_it = |host: &Host| host.row.ring == ring && host.row.revoked_ms.is_none();
    let hosts = server.hosts.all().iter().filter(|cell| is_in_it(&cell.lock())).count() as u64;
    RingAnswer { ring: ring.to_owned(), policy: policy.clone(), closed, hosts }
}

/// The policies as they are stored.
pub(super) async fn read(server: &Server) -> Result<Policies, StoreError> {
    let of = |(ring, text): (String, String)| {
        let damaged = |error: serde_json::Error| StoreError::Damaged { why: format!("policy of ring {ring}: {error}") };
        Ok((ring.clone(), serde_json::from_str(&text).map_err(damaged)?))
    };
    server.store.ring_policies().await?.into_iter().map(of).collect()
}

/// Why the policies of a rollout's rings do not let it go on now.
pub(super) fn closed(policies: &Policies, running: &Running, now_ms: u64) -> Option<String> {
    let spec = running.spec();
    let why = |ring: &str| policies.get(ring)?.closed_for(spec.version, now_ms);
    spec.rings().into_iter().find_map(|ring| Some(format!("the policy of ring {ring}: {}", why(ring)?)))
}

/// Why a ring's policy keeps it from this pack now.
pub(super) fn stays(held: &Held, packs: &[SignedPack], pack: &SignedPack, ring: &str) -> Option<LeftOut> {
    let policy = held.policies.get(ring)?;
    let name = &pack.release.name;
    let of_ring = packs.iter().filter(|other| other.release.name == *name && !is_halted(held, other.id));
    let releases = of_ring.filter_map(|other| {
        let earliest_s = other.release.rings.get(ring)?.earliest.unix_s();
        let published_ms = u64::try_from(earliest_s.saturating_mul(1_000)).unwrap_or(0);
        Some(Release { version: other.release.version, published_ms })
    });
    let releases: Vec<Release> = releases.collect();
    let runs = held.rollouts.values().map(|live| &live.running).filter(|running| {
        running.spec().name == *name && running.state() != State::Halted && running.spec().rings().contains(ring)
    });
    let runs = runs.map(|running| running.spec().version).max();
    let now_ms = now_ms();
    let (why, again_ms) = match admission(policy, &releases, runs, now_ms) {
        Admission::Begin { version, .. } if version == pack.release.version => return None,
        // An exception that ends may let it begin this one instead.
        Admission::Begin { version, .. } => {
            (format!("version {version} is what the ring's policy begins"), policy.changes_ms(now_ms))
        }
        Admission::Stay { why, again_ms } => (why, again_ms),
    };
    Some(LeftOut { ring: ring.to_owned(), why, again_ms })
}

fn is_halted(held: &Held, content: ContentId) -> bool {
    let content = content.to_string();
    held.rollouts.values().any(|live| live.running.state() == State::Halted && live.running.spec().content == content)
}
