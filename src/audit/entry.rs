//! What an entry says. Nothing secret: tokens, keys and signatures never stand in one.

use super::{AccountWord, Asked, Came, HolderWord, Job, KeyStep, OrphanWord, Person, PinnedBy, Shown};
use crate::crypto::{Digest, KeyId, SealingKeyName};
use crate::people::PersonName;
use crate::policy::Answers;
use crate::svid::Serial;
use crate::token::IssuerName;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Something that is recorded before it is done.
pub trait Auditable {
    /// What the journal says of it.
    fn entry(&self) -> Entry<'_>;
}

/// One entry of the journal.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry<'a> {
    /// Which account answers for a user is forgotten: the next one that they are led to does.
    AccountForgotten(AccountWord<'a>),
    /// A user was led to an account of the directory for the first time: from now on no other one answers for them.
    AccountRemembered {
        /// The issuer's configured name.
        issuer: &'a str,
        /// The user's id there, or what stands for a person who is sealed.
        user: &'a str,
        /// The account's GUID; none where it is sealed.
        #[serde(skip_serializing_if = "Option::is_none")]
        account: Option<String>,
    },
    /// A key of ours is made, used from now on, or put away.
    Authority(KeyStep<'a>),
    /// Whoever fits gets no identity from now on.
    BanAdded {
        /// Names the ban.
        ban: &'a str,
        /// Whom it means.
        selector: &'a str,
        /// Why, in the operator's words.
        say: &'a str,
        /// The operator's user id.
        uid: u32,
        /// Until when, in Unix seconds; none means until it is removed.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<i64>,
    },
    /// Somebody operates the server from elsewhere: who, by which number other entries know them, and what they ask for.
    OperatorCame(Came<'a>),
    /// A ban is lifted; what it has ended stays ended.
    BanRemoved {
        /// Names the ban.
        ban: &'a str,
        /// Whom it meant.
        selector: &'a str,
        /// Why, in the operator's words.
        say: &'a str,
        /// The operator's user id.
        uid: u32,
    },
    /// Another bundle of another trust domain is handed out from now on, or none.
    BundleChanged {
        /// Whose.
        trust_domain: &'a str,
        /// From where it comes.
        source: &'a str,
        /// What was held.
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<Shown>,
        /// What is held.
        #[serde(skip_serializing_if = "Option::is_none")]
        new: Option<Shown>,
        /// The operator, where it was one's word.
        #[serde(flatten)]
        by: Option<&'a Person>,
        /// Why, in the operator's words.
        #[serde(skip_serializing_if = "Option::is_none")]
        say: Option<&'a str>,
    },
    /// The revocation lists of all our authorities are about to be signed anew; their number is this record's.
    CrlsMade {
        /// How many leaves stand on them.
        revoked: usize,
        /// When they are of no use any more, in Unix seconds.
        next_update: i64,
    },
    /// Another trust domain's bundle endpoint is asked from now on.
    FederationSet {
        /// Whose.
        trust_domain: &'a str,
        /// How it is known, and where it is.
        source: &'a str,
        /// The operator.
        #[serde(flatten)]
        by: Option<&'a Person>,
        /// Why, in the operator's words.
        #[serde(skip_serializing_if = "Option::is_none")]
        say: Option<&'a str>,
    },
    /// An operator knows that a declared holder has our bundle.
    HolderConfirmed(HolderWord<'a>),
    /// A delivery of the CI system for our hooks led to nothing.
    HookRefused {
        /// Names the delivery in answers, logs and entries.
        request_id: &'a str,
        /// Whose hook it was meant for: the issuer's configured name.
        issuer: &'a str,
        /// The stable code.
        code: &'a str,
        /// Why, for operators.
        why: &'a str,
        /// How many of the same code since the last entry stand behind this one.
        repeats: u64,
    },
    /// An SVID is about to be signed: all that it will say.
    Intent {
        /// Names the request in answers, logs and entries.
        request_id: &'a str,
        /// The session it belongs to; none for a JWT-SVID bought with a token alone.
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<&'a str>,
        /// For whom.
        job: &'a Job,
        /// Which rule grants it.
        rule: &'a str,
        /// The rule's words for whoever reads this.
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        tags: &'a [String],
        /// Of which policy.
        policy: Digest,
        /// What other systems said, where the rule needs that.
        #[serde(skip_serializing_if = "Answers::is_empty")]
        facts: &'a Answers,
        /// The identity.
        spiffe_id: &'a str,
        /// What will be signed.
        svid: SvidToSign<'a>,
    },
    /// An SVID was signed, read back and found equal to its intent.
    Issued {
        /// The request of its intent.
        request_id: &'a str,
        /// SHA-256 of the certificate, or of the JWT-SVID's text.
        digest: Digest,
    },
    /// A rule that only observes matched before the rule that decided.
    Observed {
        /// Names the request.
        request_id: &'a str,
        /// The rule on trial.
        rule: &'a str,
        /// Of which policy.
        policy: Digest,
        /// The identity that it would give, or the code of its no.
        would: &'a str,
        /// Who asked.
        job: &'a Job,
        /// How many equal ones since the last entry stand behind this one.
        repeats: u64,
    },
    /// A job was closed that has no session: its tokens open none any more.
    JobClosed {
        /// The issuer's configured name.
        issuer: &'a str,
        /// The project.
        project_id: u64,
        /// The job.
        job_id: u64,
        /// Why, and by whose word.
        #[serde(flatten)]
        cause: Cause<'a>,
    },
    /// A key in a place, which no authority names, is about to be deleted there.
    OrphanDeleted(OrphanWord<'a>),
    /// A person is forgotten: what was sealed of them opens for nobody from now on.
    PersonErased {
        /// What stood, and stands, for the person.
        person: PersonName,
        /// The issuer's configured name.
        issuer: &'a str,
        /// The operator's user id.
        uid: u32,
        /// Why, in the operator's words.
        say: &'a str,
    },
    /// A project path belongs to another project from now on, or to none.
    PinChanged {
        /// Whose projects.
        issuer: &'a IssuerName,
        /// The path, case-folded.
        path: &'a str,
        /// Whose it was.
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<u64>,
        /// Whose it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        new: Option<u64>,
        /// By whom.
        #[serde(flatten)]
        by: &'a PinnedBy,
        /// The request that came with a new path.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
        /// And its job.
        #[serde(skip_serializing_if = "Option::is_none")]
        job: Option<&'a Job>,
    },
    /// Another policy decides from now on.
    PolicyChanged {
        /// The digest of the one that decided before.
        old: Digest,
        /// The digest of the one that decides now.
        new: Digest,
        /// Who had it read again: `file` when its file changed, `operator`, or `signal`.
        by: &'a str,
        /// The operator's user id.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// A known bearer got a no.
    Refused {
        /// Names the request.
        request_id: &'a str,
        /// The stable code.
        code: &'a str,
        /// Why, for operators.
        why: &'a str,
        /// Who asked.
        job: &'a Job,
        /// The policy that decided, or would have.
        policy: Digest,
        /// How many equal refusals since the last entry stand behind this one.
        repeats: u64,
        /// What was asked, where policy said no, so that another policy can be asked the same.
        #[serde(skip_serializing_if = "Option::is_none")]
        asked: Option<&'a Asked<'a>>,
        /// What other systems said, where the rule's needs were not met by it.
        #[serde(skip_serializing_if = "Option::is_none")]
        facts: Option<&'a Answers>,
    },
    /// The data folder was laid down from a backup; what came after its last record is lost.
    Restored {
        /// When the backup was made, in Unix seconds.
        made_at: i64,
        /// By which version.
        made_by: &'a str,
        /// Its last record.
        last: u64,
        /// The sequence that the keyring goes on from.
        keyring: u64,
        /// Tokens of before may have been used, and are refused, in Unix seconds; none where nothing was lost.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused_before: Option<i64>,
        /// The operator's user id.
        uid: u32,
        /// Why, in the operator's words.
        say: &'a str,
    },
    /// Everything is sealed under another sealing key from now on.
    SealingKeyChanged {
        /// The name of the one before.
        old: SealingKeyName,
        /// Its name.
        new: SealingKeyName,
        /// The place that wraps it; none where it stands in a file as it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        place: Option<&'a str>,
    },
    /// An SVID of the server itself is about to be signed, which one of its doors shows.
    ServerSvid {
        /// The identity.
        spiffe_id: &'a str,
        /// What will be signed.
        svid: SvidToSign<'a>,
    },
    /// A session ended before its time.
    SessionEnded {
        /// Which.
        session: &'a str,
        /// Why, and by whose word.
        #[serde(flatten)]
        cause: Cause<'a>,
        /// Whose it was.
        job: &'a Job,
    },
    /// An operator ends what lives and is meant; each session that ends has an entry of its own.
    SessionsRevoked {
        /// Which are meant.
        selector: &'a str,
        /// Why, in the operator's words.
        say: &'a str,
        /// The operator's user id.
        uid: u32,
        /// How many live.
        sessions: usize,
    },
    /// The server started.
    Started {
        /// Its version.
        version: &'a str,
        /// The trust domain.
        trust_domain: &'a str,
        /// The policy's digest.
        policy: Digest,
        /// The keyring's sequence.
        keyring: u64,
    },
    /// Records of the past were dropped from the index: their tokens cannot be used any more.
    Swept {
        /// How many.
        records: usize,
    },
}

/// Why something ended before its time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cause<'a> {
    /// Why.
    pub why: &'a str,
    /// Whose word it was: `agent`, `issuer`, `operator` or `server`.
    pub by: &'a str,
    /// The operator's user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<&'a str>,
}

/// What will be signed, as an entry tells it. Times are in Unix seconds.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SvidToSign<'a> {
    /// An X.509-SVID.
    X509 {
        /// Tells it from all others.
        serial: Serial,
        /// The key that it certifies.
        key_id: KeyId,
        /// Its DNS name.
        dns: Option<&'a str>,
        /// Whether it tells of the build.
        build_claims: bool,
        /// When it begins.
        not_before: i64,
        /// When it ends.
        not_after: i64,
        /// What ends it.
        limited_by: &'a str,
        /// The key of ours that signs it.
        signer: KeyId,
    },
    /// A JWT-SVID.
    Jwt {
        /// Tells it from all others.
        jti: &'a str,
        /// For whom it is.
        audience: &'a [String],
        /// When it begins.
        issued_at: i64,
        /// When it ends.
        not_after: i64,
        /// What ends it.
        limited_by: &'a str,
        /// The `kid` of the key that signs it.
        signer: &'a str,
    },
}

/// What a reader of the journal needs of any entry.
#[derive(Clone, Debug, Deserialize)]
pub struct Received {
    /// Which kind of entry.
    pub kind: String,
    /// The request, if it was one.
    pub request_id: Option<String>,
    /// The job, if one is concerned.
    pub job: Option<Job>,
    /// What other systems said of it, if they were asked; none of a form that this version does not know.
    #[serde(default, deserialize_with = "known")]
    pub facts: Option<Answers>,
    /// The rest, as it stands.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Answers>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}
