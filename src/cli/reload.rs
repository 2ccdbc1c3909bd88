//! `lanyard policy reload`: has a running server read its policy again.

use super::admin::AdminArgs;
use super::render;
use crate::wire::lanyard::{ReloadPolicyAnswer, ReloadPolicyRequest};
use serde_json::json;
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    server: AdminArgs,
    /// The outcome as one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks, and tells what came of it; a policy with problems is a failure.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = args.server.ask(async move |mut admin| admin.reload_policy(ReloadPolicyRequest {}).await).await?;
    let ReloadPolicyAnswer { old, new, rules, refusals, problems, warnings } = answer;
    let good = problems.is_empty();
    if args.json {
        let outcome = json!({
            "good": good, "changed": old != new, "old": old, "new": new, "rules": rules, "refusals": refusals,
            "problems": problems, "warnings": warnings,
        });
        render::unless_closed(render::json(&outcome))?;
    } else if good {
        for warning in &warnings {
            render::aside(&format!("warning: {warning}"));
        }
        let (rules, refusals) = (render::count(rules, "rule"), render::count(refusals, "refusal"));
        let how = if old == new { "is as it was" } else { "has changed" };
        render::unless_closed(render::say(&format!("the policy {how}: {rules}, {refusals}, digest {new}")))?;
    } else {
        for problem in &problems {
            render::aside(problem);
        }
        render::aside(&format!(
            "{}; the server goes on with the policy that it has",
            render::count(problems.len(), "problem")
        ));
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
