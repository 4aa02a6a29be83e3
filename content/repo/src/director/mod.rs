//! Who runs what, and when: the director's document, and what a host makes of it.
//!
//! The director's keys are online, so they are the ones that get stolen. Its document can choose among the packs that offline keys
//! signed, start later, spread slower, pause and recall. It can introduce nothing, start nothing before its signed time, and spread
//! nothing faster than its signed steps: a host checks each of these by itself.

mod check;
mod document;
mod seen;

pub use check::{decide, Decision, Hold, Host, Refusal, Verdict};
pub use document::{Cohort, Entry, HashRange, Plan, PlanError, BUCKETS};
pub use seen::{Seen, SeenError};

use crate::client::{Client, ClientError};
use crate::time::Moment;

/// The delegated role of the director.
pub const DIRECTOR_ROLE: &str = "director";
/// The file in which the plan is.
pub const PLAN_PATH: &str = "director/plan.json";
/// A plan.
pub const PLAN_SIZE_BYTES_MAX: u64 = 1024 * 1024;

/// The director's plan as its keys signed it, `None` where the repository has none.
///
/// # Errors
/// The role, the file or the plan in it is refused.
pub fn fetch_plan(client: &mut Client, now: Moment) -> Result<Option<(Plan, Vec<u8>)>, ClientError> {
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
    let plan = Plan::parse(&bytes).map_err(|error| malformed(error.to_string()))?;
    Ok(Some((plan, bytes)))
}
