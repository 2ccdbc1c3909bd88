//! What GitLab itself links a user to (GitLab's users API): its administrators' tokens are told, whatever the user lets stand in tokens.

use super::api::Question;
use super::{Api, GitlabApi, Silence, World};
use crate::directory::{Linking, Links};
use crate::token::ExternalIdentity;
use serde::Deserialize;
use std::sync::Arc;

/// An account that is in use.
const ACTIVE: &str = "active";

/// The users of one GitLab.
#[derive(Debug)]
struct GitlabUsers {
    api: Api,
}

/// What we read of a user.
#[derive(Debug, Deserialize)]
struct User {
    id: u64,
    /// Told to administrators alone.
    identities: Option<Vec<ExternalIdentity>>,
    state: String,
}

impl GitlabApi {
    /// Its users' links.
    pub fn links(&self, world: &World) -> Arc<dyn Links> {
        Arc::new(GitlabUsers { api: Api::at(self.place.clone(), world) })
    }
}

impl Links for GitlabUsers {
    fn of(&self, user_id: u64) -> Linking<'_> {
        Box::pin(async move { self.api.question().links_of(user_id).await.map_err(|silence| silence.why().to_owned()) })
    }
}

impl Question<'_> {
    async fn links_of(&self, user_id: u64) -> Result<Vec<ExternalIdentity>, Silence> {
        let user: Option<User> = self.find(&format!("/users/{user_id}"), "user").await?;
        let user = user.filter(|user| user.id == user_id && user.state == ACTIVE);
        let untold =
            "it shows no identities: the token_file's token must be an administrator's, with the scope read_api";
        user.map_or(Ok(Vec::new()), |user| user.identities.ok_or_else(|| Silence::Unclear(untold.to_owned())))
    }
}
