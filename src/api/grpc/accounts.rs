//! Accounts of the directory at the admin door: which one answers for a user is forgotten by an operator's word.

use super::reason;
use crate::api::Operator;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::audit::Person;
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
    let Some(directory) = &desk.issuance.directory else {
        return Err(absent("directory_unknown", "the server's configuration has no [directory]"));
    };
    let wire::ForgetAccountRequest { issuer, user, reason } = asked;
    let by = (&Person::of(by.uid), reason::given(&reason, &id)?);
    let user = (IssuerName(issuer.into()), user);
    match directory.accounts().forget(&user, by).await {
        Ok(true) => Ok(wire::ForgetAccountAnswer {}),
        Ok(false) => Err(absent("account_unknown", "no account is remembered of such a user of this issuer")),
        Err(fault) => Err(Refused::of(&Refusal::Store(fault), &id).into_status()),
    }
}
