//! IDs that some readers would refuse: told where the rule is read, before one is given out.

use super::accept::{Accepted, Warning};
use super::section::Section;
use crate::identity::{SpiffeId, TrustDomain};
use crate::policy::Rule;

/// As long as a pipeline's or a job's number on GitLab.com.
const ID: &str = "12345678901";
/// Where the rule does not say the path: what is too long so is too long for every project.
const PATH: &str = "a/b";
/// A policy may be checked without a configuration, which alone knows the name.
const TRUST_DOMAIN: &str = "ci.example.org";

pub(super) fn report_long_ids(section: &Section<'_, '_>, rule: &Rule, accepted: &Accepted) {
    let Some((id, readers)) = longest(rule).map(|id| (id.to_string(), id.too_long_for())) else { return };
    if readers.is_empty() || accepted.answers(Warning::LongId) {
        return;
    }
    let readers: Vec<_> = readers.iter().map(ToString::to_string).collect();
    let found = format!("gives IDs of {} bytes, such as {id}, and {}", id.len(), readers.join(", "));
    let remedy = "give these projects the numeric layout /projects/{project_id}/-/…";
    section.warning("id", section.line_of("id"), found, Warning::LongId.or_accept(remedy));
}

fn longest(rule: &Rule) -> Option<SpiffeId> {
    let trust_domain = TrustDomain::parse(TRUST_DOMAIN).ok()?;
    let value = |claim: &str| {
        let fixed = rule.fixed(claim).into_iter().flatten().max_by_key(String::len);
        Some(fixed.unwrap_or_else(|| if claim.ends_with("_path") { PATH } else { ID }.to_owned()))
    };
    let ids = rule.gives.svids.iter().filter_map(|svid| svid.id.fill(&trust_domain, value).ok());
    ids.max_by_key(|id| id.as_str().len())
}
