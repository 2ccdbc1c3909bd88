//! Rules that could call two bearers by one name: what is said of them.

use crate::policy::{Clash, SharedId};

/// By what bearers are known.
#[derive(Clone, Copy, Debug)]
pub(super) enum NamedBy<'a> {
    /// A claim that a consumer reads.
    Claim { claim: &'a str, consumer: &'a str },
    /// Their IDs.
    Id,
}

impl NamedBy<'_> {
    /// What is wrong, and what to do.
    pub(super) fn told(self, shared: &SharedId) -> (String, String) {
        let SharedId { first, second, template, because } = shared;
        let (code, what, own) = match self {
            Self::Claim { claim, consumer } => (
                "subject",
                format!("the claim {claim:?} by which {consumer} names the bearer"),
                format!("text of {claim}, such as production:{{project_id}}"),
            ),
            Self::Id => (
                "id",
                "the ID".to_owned(),
                "id, such as /{project_path}/-/environments/production/pipelines/{pipeline_id}".to_owned(),
            ),
        };
        match because {
            Clash::Demands { only_first, only_second } => (
                format!(
                    "{code}_shared_by_unequal_rules: rules {first:?} and {second:?} can both give {template} as {what}, and \
                     demand different things: {}, {}",
                    only(first, only_first),
                    only(second, only_second)
                ),
                format!("put a literal of its own into the stricter rule's {own}"),
            ),
            Clash::Issuers { issuers: [one, another], other } => (
                format!(
                    "{code}_shared_by_issuers: rules {first:?} and {second:?} are for two issuers, {one} and {another}, and \
                     {what} can begin alike in both, up to a bearer's name ({other} and {template}), so that a pattern for \
                     bearers of one admits the other's"
                ),
                self.apart(&one.0, &another.0),
            ),
            Clash::Projects { other } => (
                format!(
                    "{code}_shared_by_projects: {template} of {second:?} and {other} of {first:?} can give two projects one \
                     text as {what}, where a path reads like an id or like another path"
                ),
                self.unlike(),
            ),
        }
    }

    fn apart(self, one: &str, another: &str) -> String {
        match self {
            Self::Claim { .. } => {
                format!("begin each issuer's with a word of its own, such as {one}:… and {another}:…")
            }
            Self::Id => format!(
                "begin each issuer's IDs with a word of its own, such as /{one}/… and /{another}/…, or leave the one's as they \
                 are and begin the other's with /-/{another}/…"
            ),
        }
    }

    fn unlike(self) -> String {
        let words = match self {
            Self::Claim { .. } => "in front, such as pipeline:{pipeline_id}",
            Self::Id => "behind the /-/, such as /-/by-id/pipelines/{pipeline_id}",
        };
        format!("name the project in one way in both, or put different words {words}")
    }
}

fn only(rule: &str, terms: &[String]) -> String {
    let terms = if terms.is_empty() { "nothing more".to_owned() } else { terms.join(" and ") };
    format!("{rule:?} demands {terms}")
}
