//! What outsiders learn of each refusal: how it is filed, and the one thing to change.

use super::refused::{Class, Refused};
use crate::authority::{DraftError, LimitedBy};
use crate::discovery::DiscoveryError;
use crate::hooks::{HookError, NewsError};
use crate::issuance::{HookRefusal, Refusal, RequestId};
use crate::policy::Denial;
use crate::session::{OwnerError, PinError, SessionError};
use crate::svid::CsrError;
use crate::token::TokenError;
use std::borrow::Cow;

impl Refused {
    /// A refusal of the road. Why our own parts did not work is for operators, in the log; outsiders read that it was so.
    pub(super) fn of(refusal: &Refusal, request_id: &RequestId) -> Self {
        let class = class_of(refusal);
        let detail = match (class, refusal) {
            (Class::Broken, _) => "the server could not sign; nothing was issued".into(),
            (Class::Unavailable, Refusal::Discovery(young @ DiscoveryError::JustFetched { .. })) => {
                Cow::Owned(young.to_string())
            }
            (_, Refusal::Denied(denial)) => denial.to_bearer().into(),
            (Class::Unavailable, Refusal::Draft(DraftError::NoSigner { algorithm })) => {
                Cow::Owned(format!("the server's {algorithm} key is not with everybody yet; try again later"))
            }
            (Class::Unavailable, Refusal::Draft(_)) => "the server's signing key is about to change; try again".into(),
            (Class::Unavailable, Refusal::Discovery(_)) => {
                "the keys of the token's issuer cannot be had at the moment; try again".into()
            }
            (Class::Unavailable, _) => {
                "nothing can be recorded at the moment, and no identity is issued unrecorded; try again".into()
            }
            (_, Refusal::Session(SessionError::Replayed)) => {
                "the token was already used with another key; one token, one key: use the agent or folder that used it \
                 first, or retry the job. If that was not you, tell your operator"
                    .into()
            }
            (_, Refusal::Session(SessionError::Ended)) => {
                "this token's session has ended (logout, exec --end, the agent stopped, or an operator ended it); a token \
                 cannot be used again: retry the job"
                    .into()
            }
            (_, Refusal::Session(SessionError::Pin(error))) => Cow::Owned(error.to_bearer()),
            (_, plain) => Cow::Owned(plain.to_string()),
        };
        let unmet = if let Refusal::Denied(denial) = refusal { denial.unmet() } else { None };
        Self::new(class, refusal.code(), detail, request_id).waiting(unmet.and_then(|unmet| unmet.retry_after))
    }
}

impl Refused {
    /// A delivery that led to nothing.
    pub(super) fn of_hook(refusal: &HookRefusal, request_id: &RequestId) -> Self {
        let (class, detail) = match refusal {
            HookRefusal::Hook(HookError::NotGenuine | HookError::Stale { .. }) => (Class::NotGenuine, None),
            HookRefusal::News(NewsError::Malformed(_)) => (Class::Malformed, None),
            HookRefusal::NoHook { .. } => (Class::Absent, None),
            HookRefusal::OutOfScope { .. } => (Class::Forbidden, None),
            HookRefusal::Repeated => (Class::Conflict, None),
            HookRefusal::Session(_) => {
                (Class::Unavailable, Some("nothing can be recorded at the moment; send it again"))
            }
        };
        let detail = detail.map_or_else(|| Cow::Owned(refusal.to_string()), Cow::Borrowed);
        Self::new(class, refusal.code(), detail, request_id)
    }
}

/// No wildcard here: whoever adds a refusal decides what outsiders see of it.
const fn class_of(refusal: &Refusal) -> Class {
    match refusal {
        Refusal::Csr(
            CsrError::Key(_)
            | CsrError::KeyKind(_)
            | CsrError::Malformed
            | CsrError::NotProven(_)
            | CsrError::SignatureAlgorithm(_),
        )
        | Refusal::Draft(DraftError::NoKey)
        | Refusal::Owner(OwnerError::CsrIsSessionKey | OwnerError::KeyKind) => Class::Malformed,
        Refusal::Csr(CsrError::TooLarge { .. }) | Refusal::Token(TokenError::TooLarge { .. }) => Class::TooLarge,
        // Our own key is about to be changed; the bearer has done nothing wrong.
        Refusal::Denied(Denial::FactUnavailable(_))
        | Refusal::Draft(DraftError::NoSigner { .. } | DraftError::NoTimeLeft { limited_by: LimitedBy::Signer, .. }) => {
            Class::Unavailable
        }
        Refusal::Denied(_) | Refusal::Draft(DraftError::NotTaken(_) | DraftError::NoTimeLeft { .. }) => {
            Class::Forbidden
        }
        Refusal::Discovery(DiscoveryError::Crowded { .. }) | Refusal::TooMany => Class::TooMany,
        Refusal::Discovery(error) if !error.is_unavailable() => Class::NotGenuine,
        Refusal::Discovery(_) | Refusal::People(_) | Refusal::Store(_) => Class::Unavailable,
        Refusal::ReadBack(_) | Refusal::Sign(_) => Class::Broken,
        Refusal::Session(error) => session_class(error),
        Refusal::Token(error) if error.is_malformed() => Class::Malformed,
        Refusal::SessionKeyMissing | Refusal::Token(_) | Refusal::UnknownIssuer { .. } => Class::NotGenuine,
    }
}

const fn session_class(error: &SessionError) -> Class {
    match error {
        SessionError::Banned { .. }
        | SessionError::Ended
        | SessionError::IdentityChanged { .. }
        | SessionError::NotOwner
        | SessionError::NotRenewable
        | SessionError::Pin(PinError::NotPinned(_) | PinError::Reused { .. })
        | SessionError::Restored => Class::Forbidden,
        SessionError::Pin(PinError::Store(_)) | SessionError::Store(_) => Class::Unavailable,
        SessionError::Replayed => Class::Conflict,
        SessionError::TooManySvids => Class::TooMany,
        SessionError::Unknown => Class::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Answer, Seen, Unmet};
    use axum::response::IntoResponse as _;

    /// Status, `Retry-After` and the words of a rule's unmet need, as REST says it.
    async fn said(denial: fn(Box<Unmet>) -> Denial, retry_after: Option<u64>) -> (u16, Option<String>, String) {
        let heard = Answer::Is(Seen::Text("canceled".to_owned()));
        let facts = [("job.state".into(), heard)].into_iter().collect();
        let (need, rests_on) = ("job.state = running".to_owned(), vec!["job.state"]);
        let unmet = Unmet { rule: "a".to_owned(), need, rests_on, facts, retry_after };
        let id = RequestId::random(&crate::crypto::Random::system());
        let answer = Refused::of(&denial(Box::new(unmet)).into(), &id).into_response();
        let wait = answer.headers().get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
        (status, wait, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_unmet_need_says_which_fact_and_how_long_to_wait_and_nothing_that_was_heard() {
        let (status, wait, failed) = said(Denial::NeedFailed, None).await;
        assert_eq!((status, wait), (403, None));
        let (status, wait, away) = said(Denial::FactUnavailable, Some(42)).await;
        assert_eq!((status, wait.as_deref()), (503, Some("42")));
        assert!(away.contains("try again in 42 s"), "{away}");
        for told in [failed, away] {
            assert!(told.contains("job.state") && !told.contains("canceled") && !told.contains("running"), "{told}");
        }
        assert_eq!(said(Denial::FactUnavailable, None).await.1.as_deref(), Some("1"));
    }
}
