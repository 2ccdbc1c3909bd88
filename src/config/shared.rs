//! Rules that could call two bearers by one name: what is said of them.

use crate::policy::{Clash, SharedId};

/// By what bearers are known.
#[derive(Clone, Copy, Debug)]
pub(super) enum NamedBy<'a> {
    /// A tag or the source identity, which a consumer's policies test.
    AwsKey { key: &'a str, consumer: &'a str },
    /// A claim that a consumer reads.
    Claim { claim: &'a str, consumer: &'a str },
    /// Their IDs.
    Id,
}

impl NamedBy<'_> {
    /// What is wrong, and what to do.
    pub(super) fn told(self, shared: &SharedId) -> (String, String) {
        let SharedId { first, second, template, because } = shared;
        let (code, where_, own) = match self {
            Self::Claim { claim, consumer } => (
                "subject",
                format!(" as the claim {claim:?}, by which {consumer} names the bearer"),
                format!("text of {claim}, such as production:{{project_id}}"),
            ),
            Self::AwsKey { key, consumer } => (
                "aws",
                format!(" as {key}, which policies of {consumer} may test"),
                format!("{key}, such as corp:{{project_id}}"),
            ),
            Self::Id => (
                "id",
                String::new(),
                "id, such as /{project_path}/-/environments/production/pipelines/{pipeline_id}".to_owned(),
            ),
        };
        match because {
            Clash::Demands { only_first, only_second } => (
                format!(
                    "{code}_shared_by_unequal_rules: rules {first:?} and {second:?} can both give {template}{where_}, and \
                     demand different things: {}, {}",
                    only(first, only_first),
                    only(second, only_second)
                ),
                format!("put a literal of its own into the stricter rule's {own}"),
            ),
            Clash::Issuers { issuers: [one, another], other } => (
                format!(
                    "{code}_shared_by_issuers: {other} of {first:?} (issuer {one}) and {template} of {second:?} (issuer \
                     {another}) can begin alike{where_}, up to a bearer's name, so that a pattern for bearers of one admits the \
                     other's"
                ),
                self.apart(&one.0, &another.0),
            ),
            Clash::Projects { other } => (
                format!(
                    "{code}_shared_by_projects: {template} of {second:?} and {other} of {first:?} can give one {} to two \
                     projects{where_}, where a path reads like an id or like another path",
                    self.text()
                ),
                self.unlike(),
            ),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::AwsKey { .. } | Self::Claim { .. } => "text",
            Self::Id => "ID",
        }
    }

    fn apart(self, one: &str, another: &str) -> String {
        match self {
            Self::AwsKey { .. } | Self::Claim { .. } => {
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
            Self::AwsKey { .. } | Self::Claim { .. } => "in front, such as pipeline:{pipeline_id}",
            Self::Id => "behind the /-/, such as /-/by-id/pipelines/{pipeline_id}",
        };
        format!("name the project in one way in both, or put different words {words}")
    }
}

fn only(rule: &str, terms: &[String]) -> String {
    let terms = if terms.is_empty() { "nothing more".to_owned() } else { terms.join(" and ") };
    format!("{rule:?} demands {terms}")
}
