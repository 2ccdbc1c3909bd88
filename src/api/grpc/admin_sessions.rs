//! What operators ask about sessions: decode, call, encode.

use super::pins::check_issuer;
use super::{Admin, authorities, reason};
use crate::api::refused::{Class, Refused};
use crate::bundle::JwtAuthority;
use crate::issuance::Refusal;
use crate::session::{self, LiveSession, PathOrId, Revocation, Struck};
use crate::telemetry::chain;
use crate::wire::lanyard::{
    AddBanAnswer, AddBanRequest, Ban, ListBansAnswer, ListSessionsRequest, RemoveBanAnswer, RemoveBanRequest,
    RevokeSessionsRequest, Selector, SessionShown, SessionsAnswer,
};
use std::collections::BTreeSet;
use time::OffsetDateTime;
use tonic::Status;

/// A SHA-256 in hex.
const KEY_ID_DIGITS: usize = 64;

impl Admin {
    pub(super) async fn listed(&self, asked: ListSessionsRequest) -> Result<SessionsAnswer, Status> {
        let ListSessionsRequest { selector, limit } = asked;
        let selector = match selector.filter(|selector| *selector != Selector::default()) {
            Some(selector) => Some(self.selector(selector).await?),
            None => None,
        };
        let (sessions, now) = (&self.0.issuance.sessions, self.0.issuance.believed_now());
        let doubt = match &selector {
            Some(selector) => self.doubt(selector).await?,
            None => String::new(),
        };
        Ok(SessionsAnswer { doubt, ..shown(sessions.select(selector.as_ref(), now), limit) })
    }

    pub(super) async fn revoked(&self, asked: RevokeSessionsRequest, uid: u32) -> Result<SessionsAnswer, Status> {
        let RevokeSessionsRequest { selector, reason, dry_run, limit } = asked;
        let selector = self.selector(selector.unwrap_or_default()).await?;
        let issuance = &self.0.issuance;
        let struck = if dry_run {
            issuance.sessions.would_strike(&selector, issuance.believed_now())
        } else {
            let wish = Revocation { selector: &selector, uid, reason: self.reason(&reason)? };
            issuance.revoke(&wish).await.map_err(|error| self.refused(error))?
        };
        let (returning_issuer, doubt) = (self.returning(&struck), self.doubt(&selector).await?);
        Ok(SessionsAnswer { returning_issuer, doubt, ..shown(struck, limit) })
    }

    /// The issuers whose bearers come back with their next token.
    fn returning(&self, struck: &Struck) -> Vec<String> {
        let issuers: BTreeSet<&str> = struck.sessions.iter().map(|one| &*one.job.issuer.0).collect();
        let of = |name: &&str| self.0.issuance.issuers.by_name(name).map(|issuer| issuer.expectations.kind);
        issuers.into_iter().filter(|name| of(name).is_some_and(|kind| !kind.names_jobs())).map(str::to_owned).collect()
    }

    pub(super) fn bans(&self) -> ListBansAnswer {
        let issuance = &self.0.issuance;
        ListBansAnswer { ban: issuance.sessions.bans(issuance.now()).into_iter().map(told).collect() }
    }

    pub(super) async fn banned(&self, asked: AddBanRequest, uid: u32) -> Result<AddBanAnswer, Status> {
        let AddBanRequest { selector, reason, until, dry_run, limit } = asked;
        let selector = self.selector(selector.unwrap_or_default()).await?;
        let (issuance, now) = (&self.0.issuance, self.0.issuance.believed_now());
        let until = match until {
            0 => None,
            until => {
                Some(OffsetDateTime::from_unix_timestamp(until).ok().filter(|until| *until > now).ok_or_else(|| {
                    self.malformed("until_passed", "the ban's end must be a time that is still to come")
                })?)
            }
        };
        let reason = if dry_run { "" } else { self.reason(&reason)? };
        let ban = session::Ban::new(selector, (uid, reason.to_owned()), (now, until));
        let ended = if dry_run {
            issuance.sessions.would_strike(&ban.selector, now)
        } else {
            issuance.ban(&ban).await.map_err(|error| self.refused(error))?
        };
        let doubt = self.doubt(&ban.selector).await?;
        Ok(AddBanAnswer { ban: Some(told(ban)), ended: Some(shown(ended, limit)), doubt })
    }

    /// Why it may mean nobody, where that can be seen: a rule may be written later, and a key made.
    async fn doubt(&self, selector: &session::Selector) -> Result<String, Status> {
        let policy = self.0.issuance.policy.now();
        let lacks = |rule: &&String| policy.rules().iter().all(|known| known.name != **rule);
        if let Some(rule) = selector.rule.as_ref().filter(lacks) {
            return Ok(format!("the policy in use has no rule {rule:?}: nobody is meant by it now"));
        }
        let Some(signer) = &selector.signer else { return Ok(String::new()) };
        let of_jwt = |key: &JwtAuthority| key.kid == *signer;
        let published = self.0.published.borrow().bundle.jwt_authorities.iter().any(of_jwt);
        if published || authorities::has_intermediate(&self.0, signer).await? {
            return Ok(String::new());
        }
        Ok(format!(
            "no intermediate of this server has the key id {signer:?}, and no JWT key the kid: nobody is meant by it now"
        ))
    }

    pub(super) async fn ban_lifted(&self, asked: &RemoveBanRequest, uid: u32) -> Result<RemoveBanAnswer, Status> {
        let RemoveBanRequest { ban, reason } = asked;
        let issuance = &self.0.issuance;
        let by = (uid, self.reason(reason)?);
        let lifted =
            issuance.sessions.lift_ban(&issuance.ledger, ban, by).await.map_err(|error| self.refused(error))?;
        let unknown = || {
            let detail = "there is no such ban; `lanyard ban list` has those in force";
            Refused::new(Class::Absent, "ban_unknown", detail, &self.0.request_id()).into_status()
        };
        Ok(RemoveBanAnswer { ban: Some(told(lifted.ok_or_else(unknown)?)) })
    }

    /// Whom an operator means; never everybody by leaving all out.
    async fn selector(&self, asked: Selector) -> Result<session::Selector, Status> {
        let Selector { issuer, project, namespace, pipeline, job, r#ref, user, runner, rule, signer, serial } = asked;
        if !issuer.is_empty() {
            check_issuer(&self.0, &issuer, &self.0.request_id())?;
        }
        if [&project, &namespace].into_iter().any(|path| path.contains('*')) {
            let detail =
                "a project or namespace is named whole, without *; --namespace acme means all that is below acme";
            return Err(self.malformed("selector_pattern", detail));
        }
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let id = |id: u64| Some(id).filter(|id| *id != 0);
        let path = |named: String| text(named).and_then(|named| named.parse().ok());
        let as_hex = |signer: String| if signer.len() == KEY_ID_DIGITS { signer.to_ascii_lowercase() } else { signer };
        let mut selector = session::Selector {
            issuer: text(issuer),
            project: path(project),
            namespace: path(namespace),
            pipeline: id(pipeline),
            job: id(job),
            reference: text(r#ref),
            user: text(user),
            runner: id(runner),
            rule: text(rule),
            signer: text(signer).map(as_hex),
        };
        selector.check().map_err(|nobodys| {
            let id = self.0.request_id();
            Refused::new(Class::Malformed, "selector_malformed", nobodys.to_string(), &id).into_status()
        })?;
        if let Some(serial) = text(serial) {
            self.narrow(&mut selector, &serial).await?;
        }
        if selector.is_empty() {
            return Err(self.malformed("selector_empty", "say which: nothing named means nobody, never everybody"));
        }
        Ok(selector)
    }

    /// To the job of a serial number.
    async fn narrow(&self, selector: &mut session::Selector, serial: &str) -> Result<(), Status> {
        let id = self.0.request_id();
        let job = self.0.issuance.job_of_serial(serial).await.map_err(|error| {
            tracing::error!(request_id = %id, error = %chain(&error), "the journal cannot be read");
            Refused::new(Class::Broken, "journal_unreadable", "the journal cannot be read; see the log", &id)
                .into_status()
        })?;
        let job = job.ok_or_else(|| {
            let detail = "the journal knows no SVID of this serial number";
            Refused::new(Class::Absent, "serial_unknown", detail, &id).into_status()
        })?;
        let other_issuer = selector.issuer.replace(job.issuer.to_string()).is_some_and(|named| *named != *job.issuer.0);
        let other_job = selector.job.replace(job.job_id).is_some_and(|named| named != job.job_id);
        if other_issuer || other_job {
            return Err(self.malformed("serial_elsewhere", "the serial number is of another job than the one named"));
        }
        selector.project.get_or_insert(PathOrId::Id(job.project_id));
        Ok(())
    }

    pub(super) fn reason<'a>(&self, reason: &'a str) -> Result<&'a str, Status> {
        reason::given(reason, &self.0.request_id())
    }

    pub(super) fn malformed(&self, code: &'static str, detail: &'static str) -> Status {
        Refused::new(Class::Malformed, code, detail, &self.0.request_id()).into_status()
    }

    fn refused(&self, error: session::SessionError) -> Status {
        Refused::of(&Refusal::from(error), &self.0.request_id()).into_status()
    }
}

fn told(ban: session::Ban) -> Ban {
    let session::Ban { id, selector, reason, uid, since, until, .. } = ban;
    let until = until.map_or(0, OffsetDateTime::unix_timestamp);
    Ban { ban: id, selector: selector.to_string(), reason, uid, since: since.unix_timestamp(), until }
}

fn shown(struck: Struck, limit: u32) -> SessionsAnswer {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let (identities, jobs) = (count(struck.sessions.len()), count(struck.jobs()));
    let svids_end_at = struck.svids_end_at().map_or(0, OffsetDateTime::unix_timestamp);
    let mut sessions = struck.sessions;
    sessions.sort_unstable_by_key(|one| (one.job.job_id, one.id));
    sessions.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let session = sessions.into_iter().map(session_shown).collect();
    SessionsAnswer { identities, jobs, svids_end_at, session, returning_issuer: Vec::new(), doubt: String::new() }
}

fn session_shown(live: LiveSession) -> SessionShown {
    let text = |text: Option<std::sync::Arc<str>>| text.map(|text| text.to_string()).unwrap_or_default();
    SessionShown {
        session: live.id.to_string(),
        issuer: live.job.issuer.to_string(),
        project_id: live.project_id,
        project_path: live.project_path.to_string(),
        pipeline_id: live.pipeline_id,
        job_id: live.job.job_id,
        r#ref: text(live.reference),
        user_login: text(live.user_login),
        user_id: live.user_id.unwrap_or_default(),
        runner_id: live.runner_id.unwrap_or_default(),
        rule: live.rule.to_string(),
        signer: live.signers.iter().map(ToString::to_string).collect(),
        ends_at: live.ends_at.unix_timestamp(),
        svids_end_at: live.svids_end_at.min(live.ends_at).unix_timestamp(),
    }
}
