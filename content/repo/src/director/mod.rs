//! Who runs what, and when: the director's document, and what a host makes of it.
//!
//! The director's keys are online, so they are the ones that get stolen. Its document can choose among the packs that offline keys
//! signed, start later, spread slower, pause and recall. It can introduce nothing, start nothing before its signed time, and spread
//! nothing faster than its signed steps: a host checks each of these by itself.

mod check;
mod document;
mod seen;

pub use check::{bucket, decide, Decision, Hold, Host, Refusal, Verdict};
pub use document::{Cohort, Entry, HashRange, Plan, PlanError, BUCKETS};
pub use seen::{Seen, SeenError};

use crate::client::{Client, ClientError};
use crate::crypto::sha256_hex;
use crate::time::Moment;

/// The delegated role of the director.
pub const DIRECTOR_ROLE: &str = "director";
/// The file in which the plan is.
pub const PLAN_PATH: &str = "director/plan.json";
/// A plan.
pub const PLAN_SIZE_BYTES_MAX: u64 = 1024 * 1024;

/// A plan, and by whose word it is one.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedPlan {
    /// What it says.
    pub plan: Plan,
    sha256: String,
    authority: String,
}

impl SignedPlan {
    /// Reads a plan that keys of this authority have signed.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8], authority: &str) -> Result<Self, PlanError> {
        Ok(Self { plan: Plan::parse(bytes)?, sha256: sha256_hex(bytes), authority: authority.into() })
    }
}

/// The director's plan as its keys signed it, `None` where the repository has none.
///
/// # Errors
/// The role, the file or the plan in it is refused.
pub fn fetch_plan(client: &mut Client, now: Moment) -> Result<Option<SignedPlan>, ClientError> {
    let Some(target) = client.find(PLAN_PATH, now)? else { return Ok(None) };
    let malformed = |why: String| ClientError::Malformed { role: DIRECTOR_ROLE.into(), why };
    if target.role() != DIRECTOR_ROLE {
        return Err(malformed(format!("{PLAN_PATH} is named by the role {:?}", target.role())));
    }
    if target.size_bytes() > PLAN_SIZE_BYTES_MAX {
        let (path, size_bytes) = (target.path().to_owned(), target.size_bytes());
        return Err(ClientError::TooLarge { path, size_bytes, size_bytes_max: PLAN_SIZE_BYTES_MAX });
    }
    let bytes = client.download(&target)?;
    let authority = client.key_ids_of(DIRECTOR_ROLE).join(" ");
    Ok(Some(SignedPlan::parse(&bytes, &authority).map_err(|error| malformed(error.to_string()))?))
}
