//! `lanyard.v1.Admin`: what operators ask of a running server.

use crate::api::Operator;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::api::reloads::NotReloaded;
use crate::wire::lanyard::{
    AdminExplainAnswer, AdminExplainRequest, ReloadPolicyAnswer, ReloadPolicyRequest, ShowBundleAnswer,
    ShowBundleRequest, admin_explain_request::Subject, admin_server,
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

    async fn reload_policy(
        &self,
        request: Request<ReloadPolicyRequest>,
    ) -> Result<Response<ReloadPolicyAnswer>, Status> {
        let id = self.0.request_id();
        let refused = |class, code, why: &NotReloaded| Refused::new(class, code, why.to_string(), &id).into_status();
        let operator = request.extensions().get::<Operator>().copied();
        let Operator { uid } = operator.ok_or_else(|| Status::internal("nobody knows who asks"))?;
        let answer = match self.0.reloads.ask(uid).await {
            Ok(reloaded) => ReloadPolicyAnswer {
                old: reloaded.old.to_string(),
                new: reloaded.new.to_string(),
                rules: u64::try_from(reloaded.rules).unwrap_or(u64::MAX),
                refusals: u64::try_from(reloaded.refusals).unwrap_or(u64::MAX),
                problems: Vec::new(),
            },
            Err(NotReloaded::Problems(problems)) => ReloadPolicyAnswer { problems, ..ReloadPolicyAnswer::default() },
            Err(why @ NotReloaded::Stopped) => return Err(refused(Class::Unavailable, "stopping", &why)),
            Err(why @ NotReloaded::Unrecorded) => return Err(refused(Class::Unavailable, "store_unavailable", &why)),
        };
        Ok(Response::new(answer))
    }
}
