//! `lanyard.v1.Admin`: what operators ask of a running server.

use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::wire::lanyard::{
    AdminExplainAnswer, AdminExplainRequest, ShowBundleAnswer, ShowBundleRequest, admin_explain_request::Subject,
    admin_server,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service. Whoever reaches it has been let in by the socket.
#[derive(Debug)]
pub(in crate::api) struct Admin(pub(in crate::api) Arc<Desk>);

#[tonic::async_trait]
impl admin_server::Admin for Admin {
    async fn show_bundle(&self, _request: Request<ShowBundleRequest>) -> Result<Response<ShowBundleAnswer>, Status> {
        let published = self.0.bundle();
        let trust_domain = published.bundle.trust_domain.to_string();
        Ok(Response::new(ShowBundleAnswer { trust_domain, document: published.json.clone() }))
    }

    async fn explain(&self, request: Request<AdminExplainRequest>) -> Result<Response<AdminExplainAnswer>, Status> {
        let id = self.0.request_id();
        let refused = |class, code, detail: &'static str| Refused::new(class, code, detail, &id).into_status();
        let token = match request.into_inner().subject {
            Some(Subject::Token(token)) => token,
            Some(Subject::RequestId(_)) => {
                let detail = "the journal keeps no claims of past requests; give a token";
                return Err(refused(Class::Absent, "request_not_kept", detail));
            }
            None => return Err(refused(Class::Malformed, "subject_missing", "give a token to explain")),
        };
        let walk = self.0.explain(&token, &id).await.map_err(Refused::into_status)?;
        let walk = serde_json::to_vec(&walk);
        let walk = walk.map_err(|_odd| refused(Class::Broken, "not_rendered", "the walk cannot be written as JSON"))?;
        Ok(Response::new(AdminExplainAnswer { walk: walk.into() }))
    }
}
