//! What a rule grants: `id` or `[[rule.svid]]`, and for how long.

use super::section::Section;
use crate::identity::IdTemplate;
use crate::policy::ProfileTemplate;
use std::time::Duration;

/// An intermediate lives 24 h, and no SVID outlives its signer.
pub(super) const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// The Rust client refuses a message with more (WAPI-37).
const SVIDS_MAX: usize = 100;
/// WAPI-15.
const HINT_BYTES_MAX: usize = 1024;

/// `id = …`, or `[[rule.svid]]` with a profile each.
pub(super) fn read_svids(section: &mut Section<'_, '_>) -> Option<Vec<ProfileTemplate>> {
    let would_do = "a template, such as \"/{project_path}/-/pipelines/{pipeline_id}\"";
    let line = section.line_of("id");
    let id_given = section.holds("id");
    let id = section.parsed("id", would_do, IdTemplate::parse);
    let tables = section.sections("svid");
    if tables.is_empty() {
        if !id_given {
            section.problem("id", None, "nothing", format!("write {would_do}"));
        }
        return id.map(|id| vec![ProfileTemplate { profile: None, id }]);
    }
    if id_given {
        section.problem(
            "id",
            line,
            "an id beside [[rule.svid]]",
            "keep one: id for a single SVID, svid tables for several",
        );
    }
    let too_many = tables.get(SVIDS_MAX).map(Section::line);
    if let Some(line) = too_many {
        let remedy = format!("keep at most {SVIDS_MAX}: clients of the Workload API read no more");
        section.problem("svid", line, format!("{} SVIDs", tables.len()), remedy);
    }
    let mut svids: Vec<ProfileTemplate> = Vec::new();
    let mut whole = true;
    for mut table in tables {
        let profile = table.parsed("profile", "a name of at most 1024 bytes, such as \"linkerd\"", hint);
        let profile = profile.or_else(|| table.missing("profile", "name it; callers ask for it by that name"));
        let id = table.parsed("id", would_do, IdTemplate::parse);
        let id = id.or_else(|| table.missing("id", "write a template"));
        if svids.iter().any(|svid| profile.is_some() && svid.profile == profile) {
            table.problem("profile", None, "a profile's name again", "give each profile of a rule a name of its own");
        }
        match (profile, id) {
            (Some(profile), Some(id)) => svids.push(ProfileTemplate { profile: Some(profile), id }),
            _ => whole = false,
        }
        table.finish();
    }
    whole.then_some(svids)
}

/// A profile's name is the hint that workloads see (SPIFFE Workload API §5.2.1: at most 1024 bytes).
fn hint(text: &str) -> Result<String, &'static str> {
    match text.len() {
        0 => Err("empty"),
        1..=HINT_BYTES_MAX => Ok(text.to_owned()),
        _ => Err("too long"),
    }
}

pub(super) fn read_ttl(section: &mut Section<'_, '_>, default: Duration) -> Option<Duration> {
    let line = section.line_of("ttl");
    let given = section.holds("ttl");
    let ttl = section.duration("ttl", TTL_MAX);
    if ttl.is_some_and(|ttl| ttl < Duration::from_secs(1)) {
        section.problem("ttl", line, "less than a second", "write \"15m\", or \"1h\" where a consumer cannot renew");
        return None;
    }
    if given { ttl } else { Some(default) }
}
