//! What a CI provider's claims mean: a table, no code per provider.
//!
//! The set is closed: a claim that is not in the table is read past and forgotten, so that new ones of GitLab's
//! break nothing and decide nothing. What is kept goes with the session for as long as that lives, so each kind
//! of value has a cap.

use super::issuer_kind::IssuerKind;

/// What a claim holds, once read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimKind {
    /// One of [`super::ACTOR_KINDS`].
    Actor,
    /// True or false.
    Bool,
    /// A number above zero.
    Id,
    /// External accounts.
    Identities,
    /// A path of names with slashes.
    Path,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
}

/// How a claim is written in the token (GitLab's types are exact, and not what they seem).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// The service account of `system:serviceaccount:NAMESPACE:NAME`, as a path of both names.
    Account,
    /// `aud`: a string, or a list of strings.
    Audience,
    /// A path behind these words.
    Behind(&'static str),
    /// `"true"`, `"false"`, or `""` for false; never a JSON boolean. Null counts as absent.
    BoolText,
    /// A list of `{provider, extern_uid}`.
    Identities,
    /// Read past.
    Ignored,
    /// A string of digits, `^[1-9][0-9]{0,18}$`.
    Id,
    /// As `Id`; empty or null counts as absent.
    IdOrEmpty,
    /// An integer above zero, as only `runner_id` is; null counts as absent.
    IdNumber,
    /// A text of which an id is made, where there is none.
    Named,
    /// A project's or namespace's path.
    Path,
    /// The path of a SPIFFE ID, whose trust domain the issuer's keys vouch for.
    SpiffePath,
    /// A string; null counts as absent, empty does not.
    Text,
    /// A list of strings.
    Texts,
    /// A name that we keep as part of a key: 1 to 255 visible ASCII characters.
    Token,
    /// Seconds since 1970, an integer.
    Time,
}

impl Shape {
    /// In the words of an error message.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Account => "system:serviceaccount:NAMESPACE:NAME",
            Self::Audience => "a string, or a list of at most 200 strings of at most 8192 bytes",
            Self::Behind(_) => "a path behind the words that its issuer puts first",
            Self::BoolText => "the string \"true\" or \"false\"",
            Self::Id => "a string of up to 19 digits without a leading zero",
            Self::IdNumber => "a positive integer or null",
            Self::IdOrEmpty => "a string of up to 19 digits without a leading zero, or an empty one",
            Self::Identities => "a list of at most 200 provider and extern_uid pairs",
            Self::Ignored => "JSON",
            Self::Named => "a string of 1 to 8192 bytes",
            Self::Path => "a path of letters, digits, dots, dashes and underscores",
            Self::SpiffePath => "a SPIFFE ID with a path",
            Self::Text => "a string of at most 8192 bytes",
            Self::Texts => "a list of at most 200 strings of at most 8192 bytes",
            Self::Time => "an integer number of seconds since 1970",
            Self::Token => "a string of 1 to 255 visible ASCII characters",
        }
    }

    pub(super) const fn kind(self) -> Option<ClaimKind> {
        match self {
            Self::BoolText => Some(ClaimKind::Bool),
            Self::Id | Self::IdNumber | Self::IdOrEmpty => Some(ClaimKind::Id),
            Self::Identities => Some(ClaimKind::Identities),
            Self::Account | Self::Behind(_) | Self::Path | Self::SpiffePath => Some(ClaimKind::Path),
            Self::Text | Self::Token => Some(ClaimKind::Text),
            Self::Texts => Some(ClaimKind::Texts),
            Self::Audience | Self::Ignored | Self::Named | Self::Time => None,
        }
    }
}

/// Longest text kept; GitLab's longest path (20 levels of 255 characters) fits.
pub(super) const TEXT_BYTES_MAX: usize = 8192;
/// Longest list kept. GitLab leaves `groups_direct` out above 200. A token with a longer one is refused: were the list
/// read as left out, no refusal that looks for one of its entries would match.
pub(super) const LIST_MAX: usize = 200;

/// GitLab's claims, sorted by name.
pub(super) static GITLAB: [(&str, Shape); 41] = [
    ("aud", Shape::Audience),
    ("ci_config_ref_uri", Shape::Text),
    ("ci_config_sha", Shape::Text),
    ("deployment_tier", Shape::Text),
    ("environment", Shape::Text),
    ("environment_action", Shape::Text),
    ("environment_protected", Shape::BoolText),
    ("exp", Shape::Time),
    ("groups_direct", Shape::Texts),
    ("iat", Shape::Time),
    ("iss", Shape::Text),
    ("job_config", Shape::Ignored),
    ("job_id", Shape::Id),
    ("job_namespace_id", Shape::Id),
    ("job_namespace_path", Shape::Path),
    ("job_project_id", Shape::Id),
    ("job_project_path", Shape::Path),
    ("job_source", Shape::Text),
    ("jti", Shape::Token),
    ("namespace_id", Shape::Id),
    ("namespace_path", Shape::Path),
    ("nbf", Shape::Time),
    ("pipeline_id", Shape::Id),
    ("pipeline_source", Shape::Text),
    ("project_id", Shape::Id),
    ("project_path", Shape::Path),
    ("project_visibility", Shape::Text),
    ("ref", Shape::Text),
    ("ref_path", Shape::Text),
    ("ref_protected", Shape::BoolText),
    ("ref_type", Shape::Text),
    ("runner_environment", Shape::Text),
    ("runner_id", Shape::IdNumber),
    ("sha", Shape::Text),
    ("sub", Shape::Text),
    ("target_audience", Shape::Ignored),
    ("user_access_level", Shape::Text),
    ("user_email", Shape::Text),
    ("user_id", Shape::IdOrEmpty),
    ("user_identities", Shape::Identities),
    ("user_login", Shape::Text),
];

/// Claims that we derive from others: how, `derived` says.
pub(super) const DERIVED: [(&str, ClaimKind); 4] = [
    ("actor.kind", ClaimKind::Actor),
    ("fork", ClaimKind::Bool),
    ("issuer", ClaimKind::Text),
    ("merge_request", ClaimKind::Bool),
];

/// What a rule may test under this name, or none if no token of any issuer has such a claim.
pub fn claim_kind(name: &str) -> Option<ClaimKind> {
    [IssuerKind::GitLab].into_iter().chain(IssuerKind::ALL).find_map(|kind| kind.claim_kind(name))
}

/// The same for what GitLab itself says.
pub(super) fn kind_of(name: &str) -> Option<ClaimKind> {
    GITLAB.get(position(name)?).and_then(testable)
}

/// `iss` is tested as `issuer`, by its configured name.
fn testable((name, shape): &(&str, Shape)) -> Option<ClaimKind> {
    shape.kind().filter(|_| *name != "iss")
}

/// Every name that a rule may test, for "did you mean".
pub static KNOWN_CLAIMS: std::sync::LazyLock<Vec<&'static str>> = std::sync::LazyLock::new(|| {
    let mut all: Vec<_> = IssuerKind::GitLab.known_claims().collect();
    for name in IssuerKind::ALL.into_iter().flat_map(IssuerKind::known_claims) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
});

/// Where a claim stands in the table.
pub(super) fn position(name: &str) -> Option<usize> {
    let guess = usize::from(*GUESSES.get(mark(name))?);
    match GITLAB.get(guess) {
        Some((known, _)) if *known == name => Some(guess),
        _ => GITLAB.binary_search_by(|(known, _)| (*known).cmp(name)).ok(),
    }
}

/// For each mark, a place that has it: one comparison instead of a search for most of a token's forty names.
static GUESSES: std::sync::LazyLock<[u8; MARKS]> = std::sync::LazyLock::new(|| {
    let mut guesses = [0; MARKS];
    for (place, (name, _)) in (0_u8..).zip(&GITLAB) {
        if let Some(guess) = guesses.get_mut(mark(name)) {
            *guess = place;
        }
    }
    guesses
});

const MARKS: usize = 512;

/// A cheap number that differs for most names: from length, first, middle and last letter.
fn mark(name: &str) -> usize {
    let letter = |at: usize| name.as_bytes().get(at).map_or(0, |byte| usize::from(*byte));
    let last = name.len().saturating_sub(1);
    (name.len() * 37 + letter(0) * 5 + letter(last / 2) * 11 + letter(last) * 3) % MARKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_fits_the_mask_of_names_seen() {
        assert!(GITLAB.is_sorted_by(|a, b| a.0 < b.0));
        assert!(GITLAB.len() <= 64);
    }
}
