//! The one function to read first: how a CI token, or a session it opened, becomes an SVID.

use super::recorder::{Known, Recorder};
use super::{Bearer, Hearing, IssuedSvid, PolicyInUse, Recalled, Refusal, Request, Shares, Turns};
use crate::audit::{AdmitError, Job, Ledger, Observed, Recorded};
use crate::authority::{Asked, Authorities, Draft};
use crate::clock::Clock;
use crate::consumer::Consumers;
use crate::directory::{AccountPins, Directory};
use crate::discovery::IssuerKeys;
use crate::facts::Facts;
use crate::people::{Keeping, People};
use crate::policy::{Denial, Grant, HeardRule, Policy, Rule, Wish};
use crate::session::{
    Admission, EndReason, Kept, PathPins, Prepared, Proof, SessionError, SessionId, SessionKey, Sessions, Standing,
};
use crate::store::{Condition, JournalError};
use crate::svid::{LeafProfile, ProvenKey};
use crate::telemetry::quotable;
use crate::token::{Claims, Issuer, Issuers, VerifiedClaims};
use std::path::PathBuf;
use std::sync::Arc;
use time::OffsetDateTime;

/// How often an admission is thought over when somebody else was faster.
const ADMISSIONS_MAX: usize = 4;

/// The collaborators of the road.
#[derive(Debug)]
pub struct Issuance {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Whose tokens count.
    pub issuers: Arc<Issuers>,
    /// Their keys.
    pub issuer_keys: Arc<IssuerKeys>,
    /// What other systems know of jobs.
    pub facts: Facts,
    /// Where their users have accounts; none where nobody asks about accounts.
    pub directory: Option<Arc<Directory>>,
    /// Which account was whose.
    pub account_pins: AccountPins,
    /// Who may be what.
    pub policy: PolicyInUse,
    /// How leaves look.
    pub leaf: Arc<LeafProfile>,
    /// Who takes JWT-SVIDs.
    pub consumers: Arc<Consumers>,
    /// Who was here before.
    pub sessions: Sessions,
    /// Whose paths are whose.
    pub pins: PathPins,
    /// The journal's hand.
    pub ledger: Ledger,
    /// The keys under which persons are written down.
    pub people: People,
    /// Our keys.
    pub authorities: Arc<Authorities>,
    /// Who is on the road now.
    pub shares: Shares,
    /// Who of them is worked on.
    pub turns: Turns,
    /// What the CI system says unasked.
    pub hearing: Hearing,
    /// Who is told of outcomes.
    pub recorder: Recorder,
    /// The folder of the journal, for questions about the past.
    pub data_dir: PathBuf,
}

impl Issuance {
    /// Turns one CI token, or the session it opened, into one SVID, or says why not.
    ///
    /// # Errors
    /// Every [`Refusal`] is counted, and recorded when the bearer is known.
    #[tracing::instrument(level = "trace", name = "issue", skip_all, fields(lanyard.request_id = %request.id, lanyard.code, lanyard.issuer, lanyard.rule))]
    pub async fn issue(&self, request: Request) -> Result<IssuedSvid, Refusal> {
        let began = self.clock.now();
        let mut known = None;
        let outcome = self.road(&request, &mut known).await;
        let by_second_key = matches!(outcome, Err(Refusal::Session(SessionError::Replayed))) && request.has_key();
        if let (true, Some(known)) = (by_second_key, &known) {
            self.replayed(&request.id, &known.claims).await;
        }
        let now = self.clock.now();
        self.recorder.outcome(&self.ledger, (&request, known.as_ref()), &outcome, (began, now));
        outcome
    }

    async fn road(&self, request: &Request, known: &mut Option<Known>) -> Result<IssuedSvid, Refusal> {
        let policy = self.policy.now(); // a change meanwhile is for those who come later
        let (claims, live) = self.bearer(request).await?; // who does ask: genuine token, or session
        let who = self.known(claims, &policy).await?; // is it one of ours; nothing is kept of strangers
        let Known { claims, job, wish, keeping, .. } = known.insert(who); // who a no would be about
        let live = live.transpose()?; // whether the session lives, and is the connection's key's
        let _place = self.shares.enter(claims.claims())?; // no issuer or namespace takes the whole road
        let key = request.proven_key(&self.leaf.key_kinds)?; // the key to certify; none for a JWT-SVID
        let owner = SessionKey::of(request.connection.as_ref(), key.as_ref())?; // whose session it is
        let wish = wish.insert(request.wish(owner.is_some())); // what policy is asked for
        self.observe(&policy, (request, claims), (wish, job))?; // what rules on trial would say
        let rule = policy.choose(claims.claims())?; // which rule speaks
        let has_needs = !rule.needs.is_empty();
        let standing = self.standing(live, claims, owner.as_ref())?; // another key's token: ask nobody else
        let rule = self.inform(rule, claims, (&standing, owner.as_ref())).await?; // what other systems say
        let _turn = self.turns.mine(claims.claims()).await?; // a storm stands in line with itself
        let grant = rule.grant(claims, wish, self.authorities.trust_domain())?; // what they may be
        let visit = Visit { request, claims, owner, job: Arc::clone(job), policy, has_needs, keeping };
        let pinned = self.hold(&visit, &grant).await?; // whose path it is
        let draft = self.draft(&visit, grant, key.as_ref(), &standing)?; // what we will sign
        let intent = self.admit(&visit, draft, (standing, pinned)).await?; // token bound and intent written: one commit
        let signed = self.authorities.sign(intent)?; // the key is used here
        let issued = IssuedSvid::inspect(signed)?; // read back, compared
        self.ledger.conclude(issued.request_id(), issued.digest())?; // written down again
        Ok(issued)
    }

    /// The claims of a genuine token, or those kept with a session, and where that stands.
    async fn bearer(&self, request: &Request) -> Result<(VerifiedClaims, Option<SessionStanding>), Refusal> {
        match &request.bearer {
            Bearer::Token(token) => {
                let verified = self.verify(token).await;
                let dated = |claims: &VerifiedClaims| self.issuer(claims.claims()).ok()?.dated(claims.claims());
                let dated = verified.as_ref().ok().and_then(dated);
                self.ledger.check_clock(dated)?; // before its times are blamed
                Ok((verified?, None))
            }
            Bearer::Session(id) => {
                self.ledger.check_clock(None)?;
                let connection = request.connection.as_ref().ok_or(Refusal::SessionKeyMissing)?;
                let kept = match self.sessions.kept(id, connection.id(), self.clock.now()) {
                    Err(SessionError::Unknown) => {
                        self.sessions.catch_up().await?; // another replica may have opened it just now
                        self.sessions.kept(id, connection.id(), self.clock.now())
                    }
                    kept => kept,
                };
                let Kept { claims, standing } = kept?;
                Ok((claims, Some(standing)))
            }
        }
    }

    /// Whom an answer is about, as it is written down.
    pub(super) async fn known(&self, claims: VerifiedClaims, policy: &Policy) -> Result<Known, Refusal> {
        self.issuer(claims.claims())?.admit(claims.claims())?;
        let keeping = self.people.keeping(claims.claims()).await?; // how its person is written down
        let job = Arc::new(Job::of(&claims, &keeping));
        Ok(Known { claims, job, policy: *policy.digest(), wish: None, keeping })
    }

    #[tracing::instrument(level = "trace", name = "token verified", skip_all)]
    pub(super) async fn verify(&self, token: &str) -> Result<VerifiedClaims, Refusal> {
        let token = self.issuers.read(token)?; // who claims to ask
        let issuer = self.issuers.by_url(token.issuer()); // whose word counts
        let issuer = issuer.ok_or_else(|| Refusal::UnknownIssuer { issuer: quotable(token.issuer()) })?;
        let keys = self.issuer_keys.of(issuer, token.kid()).await?;
        Ok(token.verify(&keys, &issuer.expectations, self.clock.now())?)
    }

    /// Where the bearer stands; a token must be fresh when it is first used, a live session's need not be.
    fn standing(
        &self,
        live: Option<Standing>,
        claims: &VerifiedClaims,
        owner: Option<&SessionKey>,
    ) -> Result<Standing, Refusal> {
        let now = self.clock.now();
        let standing = match live {
            Some(standing) => standing,
            None => self.sessions.look(claims.claims(), owner, now)?,
        };
        match standing {
            Standing::Live { .. } => {}
            Standing::New | Standing::Unbound => {
                claims.fresh_enough(self.issuer(claims.claims())?.expectations.max_token_age, now)?;
            }
        }
        Ok(standing)
    }

    /// Rules that only observe are heard and recorded, and decide nothing.
    fn observe(
        &self,
        policy: &Policy,
        (request, claims): (&Request, &VerifiedClaims),
        (wish, job): (&Wish, &Job),
    ) -> Result<(), Refusal> {
        for rule in policy.on_trial(claims.claims()) {
            let would = rule.would(claims.claims(), wish, self.authorities.trust_domain());
            let (request_id, policy) = (request.id.as_str(), *policy.digest());
            let observed = Observed { request_id, rule: &rule.name, policy, would: &would, job };
            self.ledger.observe(&observed, self.clock.now())?;
        }
        Ok(())
    }

    /// What other systems say of what the rule needs. Their no ends a live session; that they cannot be asked ends nothing.
    #[tracing::instrument(level = "trace", name = "facts", skip_all)]
    async fn inform(
        &self,
        rule: Arc<Rule>,
        claims: &VerifiedClaims,
        (standing, owner): (&Standing, Option<&SessionKey>),
    ) -> Result<HeardRule, Refusal> {
        let heard = self.facts.hear(rule, claims.claims()).await;
        if let (Err(Denial::NeedFailed(_)), Standing::Live { .. }, Some(owner)) = (&heard, standing, owner) {
            self.end(EndReason::NeedFailed, &SessionId::of(claims.claims()), owner.id()).await?;
        }
        Ok(heard?)
    }

    /// The path in a grant belongs to its project, from now on where nobody had it; what must hold for that to stay so.
    async fn hold(&self, visit: &Visit<'_>, grant: &Grant) -> Result<Option<Condition>, Refusal> {
        let pins = self.issuer(visit.claims.claims())?.pins;
        let asked = (visit.request.id.as_str(), &*visit.job);
        Ok(self.pins.hold(pins, grant, asked, self.clock.now()).await?)
    }

    fn draft(
        &self,
        visit: &Visit<'_>,
        grant: Grant,
        key: Option<&ProvenKey>,
        standing: &Standing,
    ) -> Result<Draft, Refusal> {
        let now = self.clock.now(); // read again, after the slow part
        let claims = visit.claims.claims();
        let session = visit.owner.map(|_| SessionId::of(claims).to_string());
        let asked = Asked {
            request_id: visit.request.id.to_string(),
            session,
            session_ends_at: self.sessions.ends_at(claims, standing, &grant, now),
            job: Arc::clone(&visit.job),
            policy: *visit.policy.digest(),
            leaf: Arc::clone(&self.leaf),
            consumers: Arc::clone(&self.consumers),
        };
        Ok(self.authorities.draft(grant, key, asked, now)?)
    }

    /// Binds the token and writes the intent. When somebody else was faster, looks again: the same key's session is
    /// joined, another key's is a no, and so is a path that an operator gave away meanwhile.
    #[tracing::instrument(level = "trace", name = "record", skip_all)]
    async fn admit(
        &self,
        visit: &Visit<'_>,
        mut draft: Draft,
        (mut standing, mut pinned): (Standing, Option<Condition>),
    ) -> Result<Recorded<Draft>, Refusal> {
        // What other systems said is not taken for longer than they said it.
        let alone = (!visit.has_needs).then(|| draft.grant().ttl());
        for _ in 0..ADMISSIONS_MAX {
            let now = self.clock.now();
            let (claims, owner) = (visit.claims.claims(), visit.owner.as_ref());
            let ends_at = session_end(owner, &draft);
            let grant = draft.grant();
            let (signer, svid_ends_at, serial) = (draft.signer(), draft.not_after(), draft.serial());
            let admission = Admission {
                claims,
                owner,
                standing: &standing,
                grant,
                now,
                ends_at,
                signer,
                svid_ends_at,
                serial,
                keeping: visit.keeping,
            };
            let Prepared { mut changes, note } = self.sessions.prepare(&admission)?;
            changes.conditions.extend(pinned);
            let without_quorum = alone.filter(|_| matches!(standing, Standing::Live { .. }));
            let not_admitted = match self.ledger.admit_within(draft, changes, without_quorum).await {
                Ok(intent) => {
                    self.sessions.settle(&note, claims, self.clock.now())?;
                    self.recorder.admitted(intent.position());
                    return Ok(intent);
                }
                Err(not_admitted) => not_admitted,
            };
            self.sessions.withdraw(&note);
            match not_admitted {
                AdmitError::Store(fault) => return Err(fault.into()),
                AdmitError::Conflict { subject, .. } => draft = *subject,
            }
            standing = self.standing(None, visit.claims, owner)?;
            pinned = self.hold(visit, draft.grant()).await?;
        }
        Err(Refusal::TooMany)
    }

    /// A session's issuer may have left the configuration meanwhile; then nothing is renewed.
    pub(super) fn issuer(&self, claims: &Claims) -> Result<&Issuer, Refusal> {
        let issuer = self.issuers.by_name(&claims.issuer.0);
        issuer.map(|issuer| &**issuer).ok_or_else(|| Refusal::UnknownIssuer { issuer: claims.issuer.to_string() })
    }

    /// A request of the past, explained; none where the journal does not know it.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn recall(&self, request_id: &str) -> Result<Option<Recalled>, JournalError> {
        let (folder, policy, people) = (self.data_dir.clone(), self.policy.now(), self.people.clone());
        let (trust_domain, typed) = (self.authorities.trust_domain().clone(), request_id.to_owned());
        let read = move || Recalled::read(&folder, &typed, (&policy, &trust_domain), &people);
        let reading = tokio::task::spawn_blocking(read); // files: no work for a thread that serves others
        reading.await.map_err(|_stopped| JournalError::stopped(&self.data_dir))?
    }

    /// What time it is for the doors.
    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }
}

/// Where a session that was named stands.
type SessionStanding = Result<Standing, SessionError>;

/// What the later steps of one request share.
struct Visit<'a> {
    request: &'a Request,
    claims: &'a VerifiedClaims,
    owner: Option<SessionKey>,
    job: Arc<Job>,
    policy: Arc<Policy>,
    has_needs: bool,
    keeping: &'a Keeping,
}

/// A session without a client certificate ends with its first SVID.
fn session_end(owner: Option<&SessionKey>, draft: &Draft) -> OffsetDateTime {
    match owner.map(SessionKey::proof) {
        Some(Proof::Request) => draft.not_after(),
        Some(Proof::Connection) | None => draft.asked().session_ends_at,
    }
}
