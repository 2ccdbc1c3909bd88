//! What a JWT-SVID tells AWS beside its subject: session tags and a source identity, in the claims that AWS STS reads,
//! within the limits that it keeps (AWS STS API reference, `Tag` and `AssumeRole`).

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where AWS looks for tags.
const TAGS: &str = "https://aws.amazon.com/tags";
/// And for the source identity.
const SOURCE_IDENTITY: &str = "https://aws.amazon.com/source_identity";

const TAGS_MAX: usize = 50;
const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;
const NAME_CHARACTERS: std::ops::RangeInclusive<usize> = 2..=64;

/// Session tags and source identity, as AWS takes them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AwsSession {
    principal_tags: BTreeMap<String, String>,
    transitive_tag_keys: BTreeSet<String>,
    source_identity: Option<String>,
}

/// Why AWS would not take it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AwsSessionError {
    /// Two keys that differ in capitals alone.
    #[error("two tags are called {key:?}, but for capitals, which AWS does not tell apart")]
    DoubledTag {
        /// The later.
        key: String,
    },
    /// The claims are not of the form that AWS reads.
    #[error("{claim} is not of the form that AWS reads")]
    Form {
        /// Which claim.
        claim: &'static str,
    },
    /// A source identity of other characters, or too short or long.
    #[error(
        "the source identity {text:?} does not fit: AWS takes 2 to 64 letters, digits and characters of _+=,.@-, and no \"aws:\" before them"
    )]
    SourceIdentity {
        /// What it would be.
        text: String,
    },
    /// A tag's key of other characters, empty, too long, or AWS's own.
    #[error(
        "the tag {key:?} does not fit: AWS takes 1 to 128 letters, digits, blanks and characters of _.:/=+-@, and keeps \"aws:\" for itself"
    )]
    TagKey {
        /// Which.
        key: String,
    },
    /// A tag's value of other characters, or too long.
    #[error(
        "the value {value:?} of the tag {key:?} does not fit: AWS takes up to 256 letters, digits, blanks and characters of _.:/=+-@"
    )]
    TagValue {
        /// Whose.
        key: String,
        /// What it would be.
        value: String,
    },
    /// Over fifty.
    #[error("{count} tags, and AWS takes at most {TAGS_MAX}")]
    TooManyTags {
        /// How many.
        count: usize,
    },
    /// Something is handed on that is no tag.
    #[error("transitive_tag_keys names {key:?}, which is none of the tags")]
    TransitiveKey {
        /// Which.
        key: String,
    },
}

impl AwsSession {
    /// What AWS would take, whole.
    ///
    /// # Errors
    /// See [`AwsSessionError`].
    pub fn new(
        principal_tags: BTreeMap<String, String>,
        transitive_tag_keys: BTreeSet<String>,
        source_identity: Option<String>,
    ) -> Result<Self, AwsSessionError> {
        if principal_tags.len() > TAGS_MAX {
            return Err(AwsSessionError::TooManyTags { count: principal_tags.len() });
        }
        let mut folded = BTreeSet::new();
        for (key, value) in &principal_tags {
            check_key(key)?;
            if !folded.insert(key.to_lowercase()) {
                return Err(AwsSessionError::DoubledTag { key: key.clone() });
            }
            if value.chars().count() > VALUE_CHARACTERS_MAX || !value.chars().all(may_stand_in_a_tag) {
                return Err(AwsSessionError::TagValue { key: key.clone(), value: value.clone() });
            }
        }
        if let Some(key) = transitive_tag_keys.iter().find(|key| !principal_tags.contains_key(*key)) {
            return Err(AwsSessionError::TransitiveKey { key: key.clone() });
        }
        if let Some(text) = source_identity.as_ref().filter(|text| !is_session_name(text) || text.starts_with("aws:")) {
            return Err(AwsSessionError::SourceIdentity { text: text.clone() });
        }
        Ok(Self { principal_tags, transitive_tag_keys, source_identity })
    }

    /// The claims that say it; none where there is nothing to say.
    pub fn into_claims(self) -> Map<String, Value> {
        let mut claims = Map::new();
        if !self.principal_tags.is_empty() {
            let tags: BTreeMap<_, _> = self.principal_tags.into_iter().map(|(key, value)| (key, [value])).collect();
            let told = json!({ "principal_tags": tags, "transitive_tag_keys": self.transitive_tag_keys });
            claims.insert(TAGS.to_owned(), told);
        }
        claims.extend(self.source_identity.map(|name| (SOURCE_IDENTITY.to_owned(), name.into())));
        claims
    }

    /// What AWS reads out of a token's claims.
    ///
    /// # Errors
    /// See [`AwsSessionError`].
    pub fn of_claims(claims: &Map<String, Value>) -> Result<Self, AwsSessionError> {
        let told = claims.get(TAGS).map(|told| tags_of(told).ok_or(AwsSessionError::Form { claim: TAGS }));
        let (tags, transitive) = told.transpose()?.unwrap_or_default();
        let name = claims.get(SOURCE_IDENTITY).map(|name| name.as_str().map(str::to_owned));
        let name = name.map(|name| name.ok_or(AwsSessionError::Form { claim: SOURCE_IDENTITY })).transpose()?;
        Self::new(tags, transitive, name)
    }

    /// Whether a claim of this name is AWS's.
    pub fn claims(name: &str) -> bool {
        name.starts_with("https://aws.amazon.com/")
    }
}

/// Tags, each with its one value, and the keys of those that stay.
fn tags_of(told: &Value) -> Option<(BTreeMap<String, String>, BTreeSet<String>)> {
    let tag = |(key, value): (&String, &Value)| match value.as_array()?.as_slice() {
        [value] => Some((key.clone(), value.as_str()?.to_owned())),
        _ => None,
    };
    let tags = told.get("principal_tags")?.as_object()?.iter().map(tag).collect::<Option<_>>()?;
    let transitive = told.get("transitive_tag_keys").and_then(Value::as_array).into_iter().flatten();
    Some((tags, transitive.map(|key| key.as_str().map(str::to_owned)).collect::<Option<_>>()?))
}

fn check_key(key: &str) -> Result<(), AwsSessionError> {
    let fits = (1..=KEY_CHARACTERS_MAX).contains(&key.chars().count()) && key.chars().all(may_stand_in_a_tag);
    let is_theirs = key.to_lowercase().starts_with("aws:");
    if fits && !is_theirs { Ok(()) } else { Err(AwsSessionError::TagKey { key: key.to_owned() }) }
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`.
fn may_stand_in_a_tag(character: char) -> bool {
    let is_blank = character.is_whitespace() && !character.is_control();
    character.is_alphanumeric() || is_blank || "_.:/=+-@".contains(character)
}

/// `[\w+=,.@-]{2,64}`, for source identities and the names of sessions: a SPIFFE ID does not fit there.
pub fn is_session_name(name: &str) -> bool {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    NAME_CHARACTERS.contains(&name.len()) && name.bytes().all(may)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(tags: &[(&str, &str)], transitive: &[&str], name: Option<&str>) -> Result<AwsSession, AwsSessionError> {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let transitive = transitive.iter().map(|key| (*key).to_owned()).collect();
        AwsSession::new(tags, transitive, name.map(str::to_owned))
    }

    #[test]
    fn tags_and_source_identity_stand_in_the_claims_that_aws_reads() {
        let tags = [("project_id", "4711"), ("pipeline_id", "929490")];
        let made = session(&tags, &["project_id"], Some("job-5299490")).unwrap();
        let claims = made.clone().into_claims();
        let wanted = json!({
            "https://aws.amazon.com/tags": {
                "principal_tags": {"project_id": ["4711"], "pipeline_id": ["929490"]},
                "transitive_tag_keys": ["project_id"],
            },
            "https://aws.amazon.com/source_identity": "job-5299490",
        });
        assert_eq!(Value::Object(claims.clone()), wanted);
        assert_eq!(AwsSession::of_claims(&claims), Ok(made));
        assert_eq!(AwsSession::default().into_claims(), Map::new());
        assert_eq!(AwsSession::of_claims(&Map::new()), Ok(AwsSession::default()));
    }

    #[test]
    fn what_aws_would_not_take_is_refused_and_never_cut() {
        let [too_long_a_name, too_long_a_key, long] = [65, 129, 257].map(|length| "a".repeat(length));
        let many: Vec<String> = (0..51).map(|at| format!("k{at}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "v")).collect();
        assert!(session(&many, &[], None).is_err() && session(&many[..50], &[], None).is_ok());
        for (key, value) in
            [("", "v"), (&too_long_a_key, "v"), ("a;b", "v"), ("AWS:x", "v"), ("k", &long), ("k", "a\nb")]
        {
            assert!(session(&[(key, value)], &[], None).is_err(), "{key:?} {value:?}");
        }
        assert!(session(&[("Größe der Gruppe", "a/b:c=d+e-f@g_h.i")], &[], None).is_ok());
        assert!(matches!(session(&[("a", "v"), ("A", "v")], &[], None), Err(AwsSessionError::DoubledTag { .. })));
        assert!(matches!(session(&[], &["a"], None), Err(AwsSessionError::TransitiveKey { .. })));
        for name in ["", "a", &too_long_a_name, "a b", "spiffe://ci.example.org/a", "ä1"] {
            assert!(session(&[], &[], Some(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn claims_of_another_form_are_told() {
        for odd in [
            json!({"https://aws.amazon.com/tags": "a"}),
            json!({"https://aws.amazon.com/tags": {"principal_tags": {"a": "v"}}}),
            json!({"https://aws.amazon.com/tags": {"principal_tags": {"a": ["v", "w"]}}}),
            json!({"https://aws.amazon.com/tags": {"principal_tags": {"a": ["v"]}, "transitive_tag_keys": [1]}}),
            json!({"https://aws.amazon.com/source_identity": 7}),
        ] {
            let odd = odd.as_object().unwrap().clone();
            assert!(matches!(AwsSession::of_claims(&odd), Err(AwsSessionError::Form { .. })), "{odd:?}");
        }
    }
}
