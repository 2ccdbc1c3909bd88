//! What an auditor asks of the journal, as it is typed, and which records answer that.

use super::about::{About, When};
use super::followed::Followed;
use super::{KINDS, Since, parse_since};
use crate::audit::Received;
use crate::cli::render;
use crate::cli::selector::serial_meant;
use crate::policy::Glob;
use crate::session::PathOrId;
use crate::store::Record;
use clap::builder::NonEmptyStringValueParser;
use time::OffsetDateTime;

/// Every no.
const REFUSALS: [&str; 2] = ["hook_refused", "refused"];
/// What operators and the server itself change: policy, keys, pins, bans, who is remembered, time, the journal.
const CHANGES: [&str; 16] = [
    "authority",
    "ban_added",
    "ban_removed",
    "bundle_changed",
    "federation_set",
    "holder_confirmed",
    "orphan_deleted",
    "person_erased",
    "pin_changed",
    "policy_changed",
    "segments_archived",
    "segments_removed",
    "sessions_revoked",
    "started",
    "tail_cut",
    "time_accepted",
];
/// A commit's name is shortened by people, down to what GitLab shows of it.
const COMMIT_CHARS_MIN: usize = 7;

/// Which records; all that is named must fit. What is named with nothing (a shell's variable that is not set) is wrong
/// usage: left out, it would mean more of them.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Which records; all that is named must fit")]
pub(super) struct Args {
    /// The request, as an answer or a refusal named it; the first eight characters will do
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    request_id: Option<String>,
    /// The session, or its first eight characters
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    session: Option<String>,
    /// Jobs of this project, by id or path; an id outlasts every rename
    #[arg(long, value_name = "PROJECT")]
    project: Option<PathOrId>,
    /// The pipeline, by id
    #[arg(long, value_name = "ID")]
    pipeline: Option<u64>,
    /// The job, by id
    #[arg(long, value_name = "ID")]
    job: Option<u64>,
    /// Jobs of this commit; the first seven characters will do
    #[arg(long, value_name = "SHA", value_parser = parse_commit)]
    commit: Option<String>,
    /// Jobs that deploy to this environment
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    environment: Option<String>,
    /// Who started the job, by id or login
    #[arg(long, value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    user: Option<String>,
    /// The identity; * stands for anything within a segment, ** for anything
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    spiffe_id: Option<String>,
    /// The serial number of an X.509-SVID as openssl or anybody else prints it, or the jti of a JWT-SVID
    #[arg(long, value_name = "SERIAL", value_parser = NonEmptyStringValueParser::new())]
    serial: Option<String>,
    /// What happened since: a span such as 2h, or a time such as 2026-11-21T05:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Since>,
    /// What happened until then
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    until: Option<Since>,
    /// Entries of this kind
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    kind: Option<String>,
    /// Every no
    #[arg(long)]
    refused: bool,
    /// What was changed: policy, keys, pins, bans, other trust domains' bundles, the journal itself, sessions that an operator ended
    #[arg(long)]
    changes: bool,
}

fn parse_commit(text: &str) -> Result<String, String> {
    let is_one = text.len() >= COMMIT_CHARS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let wanted = || format!("write a commit's hex digits, {COMMIT_CHARS_MIN} at least");
    is_one.then(|| text.to_lowercase()).ok_or_else(wanted)
}

/// What is asked, with what is known so far of whom it is about.
#[derive(Debug, Default)]
pub(super) struct Question {
    about: Vec<Term<About>>,
    when: Vec<Term<When>>,
    followed: Followed,
}

/// One condition, as it was typed.
#[derive(Debug)]
struct Term<T> {
    typed: String,
    wanted: T,
    /// Whether anything fitted it, whatever became of the others.
    met: bool,
}

impl Args {
    /// What is asked by it now.
    pub(super) fn question(&self) -> Question {
        let text = |flag: &str, value: &Option<String>, about: fn(String) -> About| {
            value.clone().map(|value| Term::new(format!("--{flag} {value}"), about(value)))
        };
        let id = |flag: &str, value: Option<u64>, about: fn(u64) -> About| {
            value.map(|value| Term::new(format!("--{flag} {value}"), about(value)))
        };
        let project = self.project.clone().map(|it| Term::new(format!("--project {it}"), About::Project(it)));
        let about = [
            text("request-id", &self.request_id, About::Request),
            text("session", &self.session, About::Session),
            project,
            id("pipeline", self.pipeline, About::Pipeline),
            id("job", self.job, About::Job),
            text("commit", &self.commit, About::Commit),
            text("environment", &self.environment, About::Environment),
            text("user", &self.user, About::User),
            text("spiffe-id", &self.spiffe_id, |id| About::Identity(Glob::parse(&id))),
            text("serial", &self.serial, |typed| About::Serial(serial_meant(typed))),
        ];
        let time = |flag: &str, at: Option<Since>, when: fn(OffsetDateTime) -> When| {
            let at = at.map(Since::time)?;
            Some(Term::new(format!("--{flag} {}", render::time(at)), when(at)))
        };
        let when =
            [time("since", self.since, When::Since), time("until", self.until, When::Until), self.of_which_kinds()];
        Question {
            about: about.into_iter().flatten().collect(),
            when: when.into_iter().flatten().collect(),
            followed: Followed::default(),
        }
    }

    /// Several ways to name kinds name all of them.
    fn of_which_kinds(&self) -> Option<Term<When>> {
        let mut typed = Vec::new();
        let mut kinds: Vec<String> = Vec::new();
        if let Some(kind) = &self.kind {
            typed.push(format!("--kind {kind}"));
            kinds.push(kind.clone());
        }
        for (asked, flag, of_it) in [(self.refused, "--refused", &REFUSALS[..]), (self.changes, "--changes", &CHANGES)]
        {
            if asked {
                typed.push(flag.to_owned());
                kinds.extend(of_it.iter().map(|kind| (*kind).to_owned()));
            }
        }
        (!kinds.is_empty()).then(|| Term::new(typed.join(" "), When::Kind(kinds)))
    }
}

impl<T> Term<T> {
    const fn new(typed: String, wanted: T) -> Self {
        Self { typed, wanted, met: false }
    }

    fn note(&mut self, fits: bool) -> bool {
        self.met |= fits;
        fits
    }
}

impl Question {
    /// Whether a record belongs to the answer. Records come oldest first, each once.
    pub(super) fn is_answered_by(&mut self, record: &Record, entry: &Received) -> bool {
        let is_meant = self.is_about(entry) || self.followed.lead_to(entry);
        let fits = self.when.iter_mut().fold(true, |all, term| {
            let fits = term.wanted.fits(record.at, &entry.kind);
            term.note(fits) && all
        });
        if is_meant && !self.about.is_empty() {
            self.followed.remember(entry, fits);
        }
        self.followed.forget(record);
        is_meant && fits
    }

    fn is_about(&mut self, entry: &Received) -> bool {
        self.about.iter_mut().fold(true, |all, term| {
            let fits = term.wanted.fits(entry);
            term.note(fits) && all
        })
    }

    /// Why nothing was found, and what to try, after the last record.
    pub(super) fn unanswered(&self, read: &str) -> String {
        let typed = |met: bool| {
            let about = self.about.iter().filter(|term| term.met == met).map(|term| term.typed.as_str());
            let when = self.when.iter().filter(|term| term.met == met).map(|term| term.typed.as_str());
            about.chain(when).collect::<Vec<_>>()
        };
        match typed(false)[..] {
            [] if typed(true).is_empty() => format!("the journal has no record ({read})"),
            [] => format!(
                "the journal has no such record ({read}): each of {} fits some, but none fits all; leave one out",
                typed(true).join(", ")
            ),
            _ => format!(
                "the journal has no such record ({read}): nothing in it fits {}; `lanyard audit show` lists all, and \
                 `--since 2h` the last ones",
                typed(false).join(", nothing ")
            ),
        }
    }
}
