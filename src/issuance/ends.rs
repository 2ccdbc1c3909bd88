//! What ends identities before their time: their owner's word, an operator's, the CI system's, and a token in a second hand.

use super::carried_out::carried_out;
use super::{Issuance, Refusal, RequestId};
use crate::audit::{Job, Received};
use crate::crypto::KeyId;
use crate::session::{Ban, EndReason, JobName, Revocation, SessionError, SessionId, Struck};
use crate::store::{JournalError, JournalReader, Record};
use crate::telemetry::chain;
use crate::token::{OnReplay, VerifiedClaims};
use serde_json::Value;
use time::OffsetDateTime;

impl Issuance {
    /// Ends a session of the connection's key, and closes its job.
    ///
    /// # Errors
    /// When the session is not this key's, or nothing can be recorded.
    pub async fn end(&self, reason: EndReason, id: &SessionId, connection: KeyId) -> Result<(), Refusal> {
        let (sessions, ledger, id) = (self.sessions.clone(), self.ledger.clone(), *id);
        let struck = carried_out(async move { sessions.end(&ledger, &id, connection, reason).await }).await?;
        self.recorder.ended(reason, struck);
        Ok(())
    }

    /// The same for who asks for it by a request of its own.
    ///
    /// # Errors
    /// As [`Issuance::end`]; recorded where there is such a session.
    pub async fn end_as_asked(
        &self,
        request: &RequestId,
        reason: EndReason,
        id: &SessionId,
        connection: KeyId,
    ) -> Result<(), Refusal> {
        let outcome = self.end(reason, id, connection).await;
        if let Err(refusal) = &outcome {
            let known = match self.sessions.kept(id, connection, self.now()) {
                Ok(kept) => self.known(kept.claims, &self.policy.now()).await.ok(),
                Err(_) => None,
            };
            self.recorder.refused(&self.ledger, (request, known.as_ref()), refusal, self.now());
        }
        outcome
    }

    /// What time it is, or should be where the clock is not believed: ends do not wait until it is.
    pub fn believed_now(&self) -> OffsetDateTime {
        self.ledger.believed(self.now())
    }

    /// Ends what lives and is meant.
    ///
    /// # Errors
    /// When not all could be recorded.
    pub async fn revoke(&self, wish: &Revocation<'_>) -> Result<Struck, SessionError> {
        let (sessions, ledger) = (self.sessions.clone(), self.ledger.clone());
        let now = self.believed_now();
        let (selector, uid, reason) = (wish.selector.clone(), wish.uid, wish.reason.to_owned());
        let struck = carried_out(async move {
            let wish = Revocation { selector: &selector, uid, reason: &reason };
            sessions.revoke(&ledger, &wish, now).await
        });
        let struck = struck.await?;
        self.recorder.ended(EndReason::Revoked, struck.sessions.len());
        Ok(struck)
    }

    /// Refuses whoever is meant from now on, and ends what lives of it.
    ///
    /// # Errors
    /// When not all could be recorded.
    pub async fn ban(&self, ban: &Ban) -> Result<Struck, SessionError> {
        let (sessions, ledger, ban) = (self.sessions.clone(), self.ledger.clone(), ban.clone());
        let now = self.believed_now();
        let struck = carried_out(async move { sessions.ban(&ledger, &ban, now).await }).await?;
        self.recorder.ended(EndReason::Banned, struck.sessions.len());
        Ok(struck)
    }

    /// The job that a certificate or JWT-SVID was given to, by its serial number or `jti`; none where the journal does not
    /// know it.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn job_of_serial(&self, serial: &str) -> Result<Option<Job>, JournalError> {
        let (folder, serial) = (self.data_dir.clone(), serial.to_lowercase());
        let read = move || {
            let mut records = JournalReader::open(&folder)?;
            records.find_map(|record| record.map(|record| given_to(&record, &serial)).transpose()).transpose()
        };
        // The whole journal: no work for a thread that serves others.
        let reading = tokio::task::spawn_blocking(read);
        reading.await.map_err(|_stopped| JournalError::stopped(&self.data_dir))?
    }

    /// Another key came with a token that is bound: an alarm, and where its issuer says so the end of the first session.
    pub(super) async fn replayed(&self, request: &RequestId, claims: &VerifiedClaims) {
        let claims = claims.claims();
        self.recorder.replayed(request, &claims.issuer, self.now());
        if !self.issuer(claims).is_ok_and(|issuer| issuer.on_replay == OnReplay::End) {
            return;
        }
        let (job, until) = (JobName::of(claims), claims.expires_at);
        let (sessions, ledger) = (self.sessions.clone(), self.ledger.clone());
        let closing = async move { sessions.close_job(&ledger, &job, EndReason::Replayed, until).await };
        match carried_out(closing).await {
            Ok(struck) => self.recorder.ended(EndReason::Replayed, struck),
            Err(fault) => tracing::error!(fault = chain(&fault), "the first session could not be ended"),
        }
    }
}

/// Whose it is, if the record tells of the intent to sign it.
fn given_to(record: &Record, serial: &str) -> Option<Job> {
    // Most records are not even read.
    record.entry.get().contains(serial).then_some(())?;
    let entry: Received = serde_json::from_str(record.entry.get()).ok()?;
    let svid = entry.more.get("svid")?;
    let is = |name: &str| svid.get(name).and_then(Value::as_str) == Some(serial);
    let found = is("serial") || is("jti");
    entry.job.filter(|_| found)
}
