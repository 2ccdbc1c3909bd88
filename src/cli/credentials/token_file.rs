//! A JWT-SVID in a file: whole at any moment, for its owner alone, replaced long before it ends, gone with the command.

use crate::clock::{Clock, SystemClock};
use crate::crypto::Random;
use crate::store::write_aside;
use crate::svid::inspect_jwt;
use crate::telemetry::chain;
use crate::wire::WorkloadAddress;
use crate::wire::workload::JwtsvidRequest;
use crate::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use anyhow::Context;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use tonic::{Code, Status};

/// How soon a token that could not be had is asked for again; it lives some minutes.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// One file, and how it is filled.
#[derive(Debug)]
pub(super) struct TokenFile {
    address: WorkloadAddress,
    audience: String,
    path: PathBuf,
    random: Random,
    next_at: OffsetDateTime,
}

/// Whom a token was asked for in vain, and the line that would change it.
#[derive(Debug, thiserror::Error)]
#[error("no JWT-SVID for {audience:?}: {said}{remedy}")]
pub(super) struct NoToken {
    audience: String,
    said: String,
    remedy: String,
}

impl TokenFile {
    /// Fills the file.
    pub(super) async fn begin(
        (address, random): (WorkloadAddress, &Random),
        audience: &str,
        path: PathBuf,
    ) -> anyhow::Result<Self> {
        let (audience, random, next_at) = (audience.to_owned(), random.clone(), SystemClock.now());
        let mut file = Self { address, audience, path, random, next_at };
        file.fill().await?;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it again whenever half of the token's life is over. What cannot be had is asked for again.
    pub(super) async fn keep_fresh(&mut self) -> std::convert::Infallible {
        loop {
            SystemClock.wait_until(self.next_at).await;
            if let Err(error) = self.fill().await {
                tracing::warn!(error = chain(&*error), path = %self.path.display(), "the token could not be renewed; trying again");
                self.next_at = SystemClock.now() + AGAIN_AFTER;
            }
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        let svid = fetch(&self.address, &self.audience).await?;
        let (now, not_after) = (SystemClock.now(), inspect_jwt(&svid)?.not_after);
        let place = || format!("the token cannot be written to {}", self.path.display());
        let aside =
            write_aside(&self.path, &self.random, |file| file.write_all(svid.as_bytes())).with_context(place)?;
        std::fs::rename(&aside, &self.path)
            .inspect_err(|_refused| drop(std::fs::remove_file(&aside)))
            .with_context(place)?;
        let half: Duration = Duration::try_from(not_after - now).unwrap_or_default() / 2;
        self.next_at = now + half.max(Duration::from_secs(1));
        Ok(())
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the token's file is gone already");
        }
    }
}

/// A token of the default identity.
async fn fetch(address: &WorkloadAddress, audience: &str) -> anyhow::Result<String> {
    let mut client = SpiffeWorkloadApiClient::new(address.clone().channel());
    let request = JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() };
    let answer = client.fetch_jwtsvid(crate::cli::svid::call(request)).await;
    let svids = answer.map_err(|status| NoToken::of(audience, &status))?.into_inner().svids;
    Ok(svids.into_iter().next().context("the Workload API gave no JWT-SVID")?.svid)
}

impl NoToken {
    fn of(audience: &str, status: &Status) -> Self {
        let said = status.message().to_owned();
        let grants = |code: &str| status.code() == Code::PermissionDenied && said.contains(code);
        let remedy = if grants("audience_not_granted") {
            format!("\nadd it to that rule of the policy:\n\n    audiences = [\"{audience}\"]")
        } else if grants("kind_not_granted") {
            format!(
                "\nadd to that rule of the policy:\n\n    kinds = [\"x509\", \"jwt\"]\n    audiences = [\"{audience}\"]"
            )
        } else {
            String::new()
        };
        Self { audience: audience.to_owned(), said, remedy }
    }
}
