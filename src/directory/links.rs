//! What GitLab links a user to, asked of GitLab itself.

use crate::token::{ExternalIdentity, IssuerName};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

/// An answer to come: the links, or why they are not told.
pub type Linking<'a> = Pin<Box<dyn Future<Output = Result<Vec<ExternalIdentity>, String>> + Send + 'a>>;

/// Who can be asked.
pub trait Links: Debug + Send + Sync + 'static {
    /// What the user of this id is linked to; nothing where their account is not in use.
    fn of(&self, user_id: u64) -> Linking<'_>;
}

/// By issuer.
pub type AllLinks = BTreeMap<IssuerName, Arc<dyn Links>>;
