//! The server's own counters, by the operator API.

use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::Deserialize;

use crate::connection::ANSWER_WAIT;
use crate::target::Target;

/// What the server counts.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Counters {
    /// Check-ins answered.
    pub check_ins: u64,
    /// Questions to the database.
    pub database_reads: u64,
    /// Changes of the database.
    pub database_changes: u64,
    /// Agents that wait for the doorbell.
    pub waiting: u64,
    /// The generation of the desired state.
    pub generation: u64,
}

/// Looks at the server as a person does. One connection a look: one without a certificate is closed after some seconds of silence.
#[derive(Clone, Copy, Debug)]
pub struct Operator<'a>(pub &'a Target);

impl Operator<'_> {
    /// Asks a path.
    ///
    /// # Errors
    /// It is refused, or no JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let mut connection = self.0.connect(None).await.context("the operator API")?;
        let answer = connection.ask("GET", path, &self.0.authorization, &[], ANSWER_WAIT).await?;
        anyhow::ensure!(answer.status == 200, "{path}: {} {}", answer.status, String::from_utf8_lossy(answer.body));
        serde_json::from_slice(answer.body).with_context(|| path.to_owned())
    }

    /// The counters.
    ///
    /// # Errors
    /// As `get`.
    pub async fn counters(&self) -> anyhow::Result<Counters> {
        self.get("/v1/counters").await
    }

    /// Looks until so many wait.
    ///
    /// # Errors
    /// They do not within the time.
    pub async fn until_waiting(&self, agents: u64, most: Duration) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + most;
        loop {
            let waiting = self.counters().await?.waiting;
            if waiting == agents {
                return Ok(());
            }
            anyhow::ensure!(tokio::time::Instant::now() < end, "{waiting} of {agents} agents wait");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
