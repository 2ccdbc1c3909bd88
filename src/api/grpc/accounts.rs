//! Accounts of the directory at the admin door: which one answers for a user is forgotten by an operator's word.

use super::reason;
use crate::api::Operator;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::directory::{Guid, Pinned};
use crate::issuance::Refusal;
use crate::token::IssuerName;
use crate::wire::lanyard as wire;
use tonic::Status;

/// Lets another account answer for a user.
pub(super) async fn forget(
    desk: &Desk,
    by: Operator,
    asked: wire::ForgetAccountRequest,
) -> Result<wire::ForgetAccountAnswer, Status> {
    let id = desk.request_id();
    let absent = |code, detail: &str| Refused::new(Class::Absent, code, detail.to_owned(), &id).into_status();
    let wire::ForgetAccountRequest { issuer, user, reason, account } = asked;
    let by = (&by.person(), reason::given(&reason, &id)?);
    let issuer = IssuerName(issuer.into());
    // A GUID is written in one way; what is none is as its directory writes it.
    let one_way = |account: String| account.parse::<Guid>().map_or(account, |guid| guid.to_string());
    let pinned = match (user, account.is_empty()) {
        (user, true) => Pinned::User((issuer, user)),
        (0, false) => Pinned::Account(issuer, one_way(account)),
        (_, false) => {
            let told = "a user or an account is meant, not both".to_owned();
            return Err(Refused::new(Class::Malformed, "malformed_request", told, &id).into_status());
        }
    };
    match desk.issuance.account_pins.forget(&pinned, by).await {
        Ok(true) => Ok(wire::ForgetAccountAnswer {}),
        Ok(false) => Err(absent("account_unknown", "no account is remembered of such a user of this issuer")),
        Err(fault) => Err(Refused::of(&Refusal::Store(fault), &id).into_status()),
    }
}
