//! `watertight server token` and `watertight server operator`: tokens made on the server's machine, whether or not the server runs. Whoever
//! may write the state folder needs no token for it; it is how a fleet whose admin's token is lost gets another.

use std::path::PathBuf;

use crate::access::{new_enrol_token, new_operator_token};
use crate::clock::{now_ms, sha256_hex};
use crate::names;
use crate::roles::{Action, Role};
use crate::state_folder::StateFolder;
use crate::store::{AuditEntry, EnrolToken, OperatorToken, StateStore as _};

/// Make a token with which hosts enrol. It is printed once, and only its digest is kept.
#[derive(Clone, Debug, clap::Args)]
pub struct TokenArgs {
    /// The server's state folder; the server may run meanwhile.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The ring that hosts come into.
    #[arg(long)]
    pub ring: String,
    /// The customer whose hosts they are.
    #[arg(long, default_value = "default")]
    pub tenant: String,
    /// How many hosts it is for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub uses: u32,
    /// How long it is good for.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub valid_for_s: u64,
    /// Why, for the audit log.
    #[arg(long, default_value = "made on the server's machine")]
    pub reason: String,
}

/// Make a token of the operator API, also where nobody has one any more. It is printed once, and only its digest is kept; a server that
/// runs knows it at once.
#[derive(Clone, Debug, clap::Args)]
pub struct OperatorArgs {
    /// The server's state folder; the server may run meanwhile.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Who will use it: the actor in the audit log. One that is in use is refused; one that was revoked can be given again.
    #[arg(long)]
    pub name: String,
    /// What it may.
    #[arg(long, value_enum)]
    pub role: Role,
    /// Why, for the audit log.
    #[arg(long)]
    pub reason: String,
}

/// Makes a token with which hosts enrol, and gives it.
///
/// # Errors
/// The folder is no server's, a name is none, or the database can't be written.
pub async fn token(args: &TokenArgs) -> anyhow::Result<String> {
    for (what, name) in [("--ring", &args.ring), ("--tenant", &args.tenant)] {
        names::check(what, name).map_err(anyhow::Error::msg)?;
    }
    names::reason("--reason", &args.reason).map_err(anyhow::Error::msg)?;
    let store = StateFolder::look(&args.state)?.store().await?;
    let (token, at_ms) = (new_enrol_token()?, now_ms());
    let row = EnrolToken {
        hash: sha256_hex(token.as_bytes()),
        tenant: args.tenant.clone(),
        ring: args.ring.clone(),
        uses: args.uses,
        expires_ms: at_ms.saturating_add(args.valid_for_s.saturating_mul(1000)),
    };
    let entry = entry(Action::MakeEnrolToken, &args.ring, &args.reason, at_ms);
    store.put_enrol_token(&row, &entry).await?;
    store.close().await;
    Ok(token)
}

/// Makes a token of the operator API, and gives it.
///
/// # Errors
/// The folder is no server's, the name is none or in use, or the database can't be written.
pub async fn operator(args: &OperatorArgs) -> anyhow::Result<String> {
    names::actor("--name", &args.name).map_err(anyhow::Error::msg)?;
    names::reason("--reason", &args.reason).map_err(anyhow::Error::msg)?;
    let store = StateFolder::look(&args.state)?.store().await?;
    let token = new_operator_token()?;
    let row = OperatorToken { name: args.name.clone(), hash: sha256_hex(token.as_bytes()), role: args.role };
    let entry = entry(Action::GiveAccess, &args.name, &args.reason, now_ms());
    store.put_operator_token(&row, &entry).await?;
    store.close().await;
    Ok(token)
}

fn entry(action: Action, subject: &str, reason: &str, at_ms: u64) -> AuditEntry {
    let (action, subject, reason) = (action.name().to_owned(), subject.to_owned(), reason.to_owned());
    AuditEntry { at_ms, actor: "server's machine".to_owned(), action, subject, reason }
}
