//! Which sessions are meant, as it is typed; and how those that are found are shown.

use super::render;
use crate::svid::Serial;
use crate::wire::lanyard::{Selector, SessionShown, SessionsAnswer};
use clap::builder::NonEmptyStringValueParser;
use clap::value_parser;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Which sessions: all that is named must fit. What is named with nothing (a shell's variable that is not set) is wrong
/// usage: left out, it would mean more sessions.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Which sessions; all that is named must fit")]
pub(super) struct SelectorArgs {
    /// The issuer, by its configured name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    issuer: Option<String>,
    /// The project, by id or path; an id outlasts every rename
    #[arg(long, value_name = "PROJECT", value_parser = NonEmptyStringValueParser::new())]
    project: Option<String>,
    /// A group by path, with all below it; by id, the group or user that holds the project
    #[arg(long, value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    /// The pipeline, by id
    #[arg(long, value_name = "ID", value_parser = value_parser!(u64).range(1..))]
    pipeline: Option<u64>,
    /// The job, by id
    #[arg(long, value_name = "ID", value_parser = value_parser!(u64).range(1..))]
    job: Option<u64>,
    /// The ref, as refs/heads/main, or main for the branch and the tag of that name
    #[arg(long = "ref", value_name = "REF", value_parser = NonEmptyStringValueParser::new())]
    reference: Option<String>,
    /// Who started the job, by id or login
    #[arg(long, value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    user: Option<String>,
    /// The runner, by id
    #[arg(long, value_name = "ID", value_parser = value_parser!(u64).range(1..))]
    runner: Option<u64>,
    /// The rule that grants, by name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    rule: Option<String>,
    /// The key of the server that signs, by its whole key id
    #[arg(long, value_name = "KEY-ID", value_parser = NonEmptyStringValueParser::new())]
    signer: Option<String>,
    /// The job that a certificate was given to, by its serial number as anybody prints it, or a JWT-SVID, by its jti
    #[arg(long, value_name = "SERIAL", value_parser = NonEmptyStringValueParser::new())]
    serial: Option<String>,
}

impl SelectorArgs {
    /// As the server is asked.
    pub(super) fn asked(self) -> Selector {
        let Self { issuer, project, namespace, pipeline, job, reference, user, runner, rule, signer, serial } = self;
        Selector {
            issuer: issuer.unwrap_or_default(),
            project: project.unwrap_or_default(),
            namespace: namespace.unwrap_or_default(),
            pipeline: pipeline.unwrap_or_default(),
            job: job.unwrap_or_default(),
            r#ref: reference.unwrap_or_default(),
            user: user.unwrap_or_default(),
            runner: runner.unwrap_or_default(),
            rule: rule.unwrap_or_default(),
            signer: signer.unwrap_or_default(),
            serial: serial.map(serial_meant).unwrap_or_default(),
        }
    }
}

/// As entries write a serial number, however it was copied; what is none may be a `jti`.
pub(super) fn serial_meant(typed: String) -> String {
    Serial::as_typed(&typed).map_or(typed, |serial| serial.to_string())
}

/// A time that the wire tells; none for 0.
pub(super) fn time(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds).ok().filter(|_| seconds != 0).map(render::time)
}

/// What was found, for machines.
pub(super) fn facts(answer: &SessionsAnswer) -> Value {
    let session = |one: &SessionShown| {
        json!({
            "session": one.session, "issuer": one.issuer, "project_id": one.project_id,
            "project_path": one.project_path, "pipeline_id": one.pipeline_id, "job_id": one.job_id,
            "ref": one.r#ref, "user_login": one.user_login, "user_id": one.user_id, "runner_id": one.runner_id,
            "rule": one.rule, "signers": one.signer, "ends_at": time(one.ends_at),
            "svids_end_at": time(one.svids_end_at),
        })
    };
    json!({
        "identities": answer.identities, "jobs": answer.jobs, "svids_end_at": time(answer.svids_end_at),
        "returning_issuers": answer.returning_issuer,
        "doubt": Some(&answer.doubt).filter(|doubt| !doubt.is_empty()),
        "sessions": answer.session.iter().map(session).collect::<Vec<_>>(),
    })
}

/// What was found, as a table.
pub(super) fn table(answer: &SessionsAnswer) -> anyhow::Result<()> {
    let row = |one: &SessionShown| {
        let job = format!("{}/{}", one.pipeline_id, one.job_id);
        let [ends, last] = [one.ends_at, one.svids_end_at].map(|at| time(at).unwrap_or_default());
        vec![one.project_path.clone(), job, one.r#ref.clone(), one.user_login.clone(), one.rule.clone(), ends, last]
    };
    let head = ["project", "pipeline/job", "ref", "user", "rule", "renewed until", "SVID ends"];
    render::rows(&head, answer.session.iter().map(row).collect())?;
    let untold = answer.identities.saturating_sub(u64::try_from(answer.session.len()).unwrap_or(u64::MAX));
    if untold > 0 {
        render::aside(&format!("and {untold} more; --limit shows more of them"));
    }
    Ok(())
}

/// Who comes back with the next token; none where nobody does.
pub(super) fn returning(answer: &SessionsAnswer) -> Option<String> {
    let issuers = Some(answer.returning_issuer.join(", ")).filter(|names| !names.is_empty())?;
    Some(format!(
        "tokens of issuer {issuers} name no job that ends, so the same bearers get identities again with their next token; \
         `lanyard ban add` keeps them out"
    ))
}

/// How many they are, and what is left of them.
pub(super) fn sum(answer: &SessionsAnswer, what: &str) -> String {
    let identities = match answer.identities {
        1 => "1 live identity".to_owned(),
        many => format!("{many} live identities"),
    };
    let jobs = render::count(answer.jobs, "job");
    match time(answer.svids_end_at) {
        Some(at) => format!("{identities} of {jobs} {what}; the last SVID that they were given ends at {at}"),
        None => format!("no live identity {what}"),
    }
}
