//! Whether a webhook in GitLab is as we need it, by what GitLab shows: all of it but the secrets.
//!
//! A webhook is ours if it calls our URL; of others nothing is said. Every event that we do not read is off: GitLab
//! switches off hooks whose deliveries are refused again and again.

use super::{Hook, SigningToken};
use crate::crypto::SharedSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// What may tell the end of a job (GitLab's group and project webhooks API).
const EVENTS: [&str; 3] = ["deployment_events", "job_events", "pipeline_events"];
/// What is read as well where it is on: that approvals changed.
const ALSO_READ: &str = "merge_requests_events";
/// What is on in a new webhook unless it is switched off.
const ON_BY_ITSELF: &str = "push_events";

/// A webhook that we want, with the secrets that its deliveries carry.
pub struct Wanted {
    url: String,
    secret: Option<Zeroizing<String>>,
    signing_token: Option<Zeroizing<String>>,
}

/// Without its secrets.
impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wanted({})", self.url)
    }
}

/// GitLab takes texts only.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the hook's secret is no text, so GitLab cannot be told of it: use one such as openssl rand -hex 32 makes")]
pub struct NoText;

/// A webhook that is there.
#[derive(Clone, Debug, Deserialize)]
pub struct Shown {
    /// Its number.
    pub id: u64,
    /// Where it delivers to.
    pub url: String,
    #[serde(default)]
    enable_ssl_verification: bool,
    /// Since GitLab 19.0, as is the next.
    token_present: Option<bool>,
    signing_token_present: Option<bool>,
    /// Whether GitLab has stopped calling it.
    alert_status: Option<String>,
    custom_webhook_template: Option<String>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

/// What is to be done about a webhook at one place.
#[derive(Debug)]
pub enum Step<'a> {
    /// There is none of ours.
    Add,
    /// It is there, and not as it should be: what is wrong with it.
    Change(&'a Shown, Vec<String>),
    /// It is as it should be, as far as GitLab shows.
    Keep(&'a Shown),
}

impl Wanted {
    /// The webhook that delivers to this URL what a configured hook believes.
    ///
    /// # Errors
    /// When its secret is no text.
    pub fn new(url: &str, hook: &Hook) -> Result<Self, NoText> {
        let text = |secret: &SharedSecret| {
            str::from_utf8(secret.for_the_other_side())
                .map(|text| Zeroizing::new(text.to_owned()))
                .map_err(|_odd| NoText)
        };
        let secret = hook.secret.as_ref().map(text).transpose()?;
        let signing_token = hook.signing_token.as_ref().map(SigningToken::for_gitlab);
        Ok(Self { url: usual(url), secret, signing_token })
    }

    /// Where it delivers to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is to be done where these are. Of several of ours the first counts.
    pub fn step<'a>(&self, there: &'a [Shown]) -> Step<'a> {
        let Some(shown) = self.ours(there).next() else { return Step::Add };
        let wrong = self.wrong_with(shown);
        if wrong.is_empty() { Step::Keep(shown) } else { Step::Change(shown, wrong) }
    }

    /// Those that call our URL.
    pub fn ours<'a>(&self, there: &'a [Shown]) -> impl Iterator<Item = &'a Shown> {
        there.iter().filter(|shown| usual(&shown.url) == self.url)
    }

    /// What differs from what we want.
    pub fn wrong_with(&self, shown: &Shown) -> Vec<String> {
        let missing = EVENTS.into_iter().filter(|event| !shown.is_on(event)).map(|event| format!("{event} off"));
        let mut wrong: Vec<_> = missing.collect();
        wrong.extend(shown.unread().map(|event| format!("{event} on")));
        for (is, what) in [
            (!shown.enable_ssl_verification, "no SSL verification"),
            (shown.has_template(), "a template of its own"),
            (self.secret.is_some() && shown.token_present == Some(false), "no secret token"),
            (self.signing_token.is_some() && shown.signing_token_present == Some(false), "no signing token"),
        ] {
            wrong.extend(is.then(|| what.to_owned()));
        }
        wrong
    }

    /// What to send to GitLab, for a new webhook or for this one. It holds the secrets.
    pub fn body(&self, shown: Option<&Shown>) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("url".to_owned(), json!(self.url));
        body.insert("enable_ssl_verification".to_owned(), json!(true));
        body.insert(ON_BY_ITSELF.to_owned(), json!(false));
        body.extend(EVENTS.map(|event| (event.to_owned(), json!(true))));
        if let Some(shown) = shown {
            body.extend(shown.unread().map(|event| (event.to_owned(), json!(false))));
            if shown.has_template() {
                body.insert("custom_webhook_template".to_owned(), json!(""));
            }
        }
        for (name, secret) in [("token", &self.secret), ("signing_token", &self.signing_token)] {
            body.extend(secret.iter().map(|secret| (name.to_owned(), json!(secret.as_str()))));
        }
        body
    }
}

impl Shown {
    /// What GitLab says of it that we cannot mend, or keeps to itself; for people.
    pub fn remarks(&self, wanted: &Wanted) -> Vec<String> {
        let status = self.alert_status.as_deref().filter(|status| *status != "executable");
        let mut remarks: Vec<_> = status
            .map(|status| format!("GitLab has stopped calling it ({}): send a test from its page there", plain(status)))
            .into_iter()
            .collect();
        if wanted.signing_token.is_some() && self.signing_token_present.is_none() {
            remarks.push("this GitLab does not say whether it signs (before 19.0 it does not)".to_owned());
        }
        remarks
    }

    fn is_on(&self, event: &str) -> bool {
        self.more.get(event) == Some(&Value::Bool(true))
    }

    /// Events that are on and that we do not read.
    fn unread(&self) -> impl Iterator<Item = &str> {
        let events = self.more.keys().map(String::as_str).filter(|name| name.ends_with("_events"));
        events.filter(|name| self.is_on(name) && !EVENTS.contains(name) && *name != ALSO_READ)
    }

    fn has_template(&self) -> bool {
        self.custom_webhook_template.as_deref().is_some_and(|template| !template.is_empty())
    }
}

/// As people write it too: without the port that https has anyway.
fn usual(url: &str) -> String {
    url.replacen(":443/", "/", 1)
}

/// A word of another system's, for a terminal.
fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Scope;
    use super::*;

    const URL: &str = "https://lanyard.example/v1/hooks/gitlab/corp";
    const SIGNING: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

    fn hook(secret: Option<&[u8]>, signed: bool) -> Hook {
        let secret = secret.map(|bytes| SharedSecret::new(bytes.to_vec()));
        let signing_token = signed.then(|| SigningToken::parse(SIGNING).unwrap());
        Hook { scope: Scope::group("acme"), secret, signing_token, canceling: false }
    }

    fn shown(changes: &Value) -> Shown {
        let mut hook = json!({
            "id": 7, "url": URL, "enable_ssl_verification": true, "job_events": true, "pipeline_events": true,
            "deployment_events": true, "push_events": false, "token_present": true, "signing_token_present": true,
            "alert_status": "executable", "branch_filter_strategy": "all_branches", "custom_webhook_template": "",
        });
        hook.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(hook).unwrap()
    }

    #[test]
    fn everything_that_would_keep_an_end_from_us_is_wrong_and_so_is_what_we_do_not_read() {
        let hook = hook(Some(b"what-only-gitlab-and-we-know"), true);
        let wanted = Wanted::new(URL, &hook).unwrap();
        for (changes, wrong) in [
            (json!({}), &[][..]),
            (json!({"job_events": false}), &["job_events off"]),
            (
                json!({"deployment_events": null, "pipeline_events": "true"}),
                &["deployment_events off", "pipeline_events off"],
            ),
            (
                json!({"push_events": true, "emoji_events": true, "merge_requests_events": true}),
                &["emoji_events on", "push_events on"],
            ),
            (json!({"enable_ssl_verification": false}), &["no SSL verification"]),
            (json!({"custom_webhook_template": "{}"}), &["a template of its own"]),
            (json!({"token_present": false, "signing_token_present": false}), &["no secret token", "no signing token"]),
            // As GitLab before 19.0 shows it.
            (json!({"token_present": null, "signing_token_present": null}), &[]),
        ] {
            assert_eq!(wanted.wrong_with(&shown(&changes)), wrong, "{changes}");
        }
    }

    #[test]
    fn only_a_webhook_that_calls_our_url_is_ours() {
        let hook = hook(Some(b"what-only-gitlab-and-we-know"), false);
        let wanted = Wanted::new(URL, &hook).unwrap();
        let others = [format!("{URL}/"), format!("{URL}2"), URL.replace("https", "http")];
        let others = others.map(|url| shown(&json!({"url": url, "job_events": false})));
        assert!(matches!(wanted.step(&others), Step::Add));
        let twice = [shown(&json!({"id": 8})), shown(&json!({"job_events": false}))];
        assert!(matches!(wanted.step(&twice), Step::Keep(first) if first.id == 8));
        assert!(matches!(wanted.step(&twice[1..]), Step::Change(first, _) if first.id == 7));
    }

    #[test]
    fn what_is_sent_puts_everything_right_and_holds_the_secrets() {
        let hook = hook(Some(b"what-only-gitlab-and-we-know"), true);
        let wanted = Wanted::new(URL, &hook).unwrap();
        let wrong = shown(&json!({"note_events": true, "job_events": false, "custom_webhook_template": "{}"}));
        let body = Value::Object(wanted.body(Some(&wrong)));
        let meant = json!({
            "url": URL, "enable_ssl_verification": true, "push_events": false, "note_events": false, "job_events": true,
            "pipeline_events": true, "deployment_events": true, "custom_webhook_template": "",
            "token": "what-only-gitlab-and-we-know", "signing_token": SIGNING,
        });
        assert_eq!(body, meant);
        assert!(wanted.wrong_with(&shown(&body)).is_empty());
        assert!(!format!("{wanted:?}").contains("what-only"));
    }

    #[test]
    fn a_secret_that_is_no_text_cannot_be_sent() {
        let hook = hook(Some(b"\xff\xfe-what-only-gitlab-and-we-know"), false);
        assert_eq!(Wanted::new(URL, &hook).unwrap_err(), NoText);
    }

    #[test]
    fn what_gitlab_does_not_do_or_say_is_remarked() {
        let hook = hook(None, true);
        let wanted = Wanted::new(URL, &hook).unwrap();
        assert_eq!(shown(&json!({})).remarks(&wanted), [""; 0]);
        let silent = shown(&json!({"signing_token_present": null, "alert_status": "disabled\u{1b}[2J"}));
        let remarks = silent.remarks(&wanted);
        assert!(remarks[0].contains("(disabled2J)") && remarks[1].contains("19.0"), "{remarks:?}");
    }
}
