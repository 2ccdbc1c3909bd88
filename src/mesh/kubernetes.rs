//! What every Kubernetes object has, and the names that it takes.

use super::Admitted;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The longest label (RFC 1123 §2.1), and so the longest name of a service or namespace.
const LABEL_MAX: usize = 63;

/// The annotation that says for which of our rules an object is there. Any text is good in an annotation.
const RULES: &str = "lanyard/rules";

/// A name that any object may have: a label of RFC 1123.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Name(String);

/// Labels that choose workloads.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Selector(BTreeMap<String, String>);

/// A text that Kubernetes would not take.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAName {
    /// Not `key=value`, or not of letters that labels may have.
    #[error("write a label as key=value, such as app=ledger")]
    Label,
    /// An object that Linkerd writes itself.
    #[error("linkerd-identity-trust-roots is Linkerd's own ConfigMap; give ours another name")]
    Linkerds,
    /// Not a DNS name.
    #[error("a server name is a DNS name in lower case, such as deploys.ci.example.org")]
    ServerName,
    /// Not lower case with digits and dashes.
    #[error("a name has at most 63 lower-case letters, digits and dashes, and neither begins nor ends with a dash")]
    Name,
}

impl Name {
    /// This name and a word behind it.
    ///
    /// # Errors
    /// When that is too long.
    pub(super) fn with(&self, word: &str) -> Result<Self, NotAName> {
        format!("{self}-{word}").parse()
    }
}

impl Name {
    /// Whether Linkerd's own trust anchors are called so.
    pub fn is_linkerds(&self) -> bool {
        self.0 == "linkerd-identity-trust-roots"
    }
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let legal = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let whole = !text.starts_with('-') && !text.ends_with('-') && (1..=LABEL_MAX).contains(&text.len());
        if legal && whole { Ok(Self(text.to_owned())) } else { Err(NotAName::Name) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Selector {
    /// Of labels as they are typed; an empty one would choose every workload of the namespace.
    ///
    /// # Errors
    /// `Label`.
    pub fn parse(labels: &[String]) -> Result<Self, NotAName> {
        let read = |label: &String| {
            let (key, value) = label.split_once('=')?;
            let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
            let is_domain = |prefix: &str| prefix.split('.').all(|label| label.parse::<Name>().is_ok());
            let legal = is_label(name) && (value.is_empty() || is_label(value)) && prefix.is_none_or(is_domain);
            legal.then(|| (key.to_owned(), value.to_owned()))
        };
        let labels = labels.iter().map(read).collect::<Option<BTreeMap<_, _>>>();
        labels.filter(|labels| !labels.is_empty()).map(Self).ok_or(NotAName::Label)
    }
}

/// A name or value of a label: letters, digits and `-_.` between letters or digits.
fn is_label(text: &str) -> bool {
    let (first, last) = (text.bytes().next(), text.bytes().last());
    let ends = [first, last].into_iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()));
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    ends && text.len() <= LABEL_MAX && text.bytes().all(inner)
}

/// What is called, and where it runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workload {
    /// The Kubernetes service, whose name the objects take up.
    pub service: Name,
    /// Its namespace.
    pub namespace: Name,
    /// Its workloads.
    pub selector: Selector,
}

/// An object.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object<S> {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) metadata: Metadata,
    pub(super) spec: S,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Metadata {
    pub(super) name: Name,
    pub(super) namespace: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<Selector>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<&'static str, String>,
}

impl Metadata {
    pub(super) fn new(name: Name, namespace: &Name) -> Self {
        Self { name, namespace: namespace.clone(), labels: None, annotations: BTreeMap::new() }
    }

    /// Says for which rules it is there.
    pub(super) fn for_rules(mut self, admitted: &[Admitted]) -> Self {
        let names: Vec<&str> = admitted.iter().map(|one| one.rule.as_str()).collect();
        self.annotations.insert(RULES, names.join("\n"));
        self
    }
}

/// Which workloads an object is about.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MatchLabels {
    pub(super) match_labels: Selector,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_those_that_kubernetes_takes() {
        for (text, good) in [("ledger", true), ("a-1", true), ("", false), ("-a", false), ("A", false), ("a.b", false)]
        {
            assert_eq!(text.parse::<Name>().is_ok(), good, "{text}");
        }
        assert!("a".repeat(63).parse::<Name>().unwrap().with("x").is_err());
        for (text, good) in [
            ("app=ledger", true),
            ("app.kubernetes.io/name=ledger_2", true),
            ("app=", true),
            ("app", false),
            ("=x", false),
            ("app=a b", false),
            ("app=a\nb: c", false),
            ("x/y/z=a", false),
        ] {
            assert_eq!(Selector::parse(&[text.to_owned()]).is_ok(), good, "{text}");
        }
        assert_eq!(Selector::parse(&[]), Err(NotAName::Label));
    }
}
