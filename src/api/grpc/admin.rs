//! `lanyard.v1.Admin`: what operators ask of a running server.

use crate::api::Operator;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::api::reloads::NotReloaded;
use crate::issuance::RequestId;
use crate::telemetry::chain;
use crate::wire::lanyard::{
    AdminExplainAnswer, AdminExplainRequest, ReloadPolicyAnswer, ReloadPolicyRequest, ShowBundleAnswer,
    ShowBundleRequest, admin_explain_request::Subject, admin_server,
};
use serde::Serialize;
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
            Some(Subject::RequestId(wanted)) => return self.recall(&wanted, &id).await,
            None => return Err(refused(Class::Malformed, "subject_missing", "give a token to explain")),
        };
        let walk = self.0.explain(&token, &id).await.map_err(Refused::into_status)?;
        rendered(&walk, &id)
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
                warnings: reloaded.warnings,
            },
            Err(NotReloaded::Problems(problems)) => ReloadPolicyAnswer { problems, ..ReloadPolicyAnswer::default() },
            Err(why @ NotReloaded::Stopped) => return Err(refused(Class::Unavailable, "stopping", &why)),
            Err(why @ NotReloaded::Unrecorded) => return Err(refused(Class::Unavailable, "store_unavailable", &why)),
        };
        Ok(Response::new(answer))
    }
}

impl Admin {
    async fn recall(&self, wanted: &str, id: &RequestId) -> Result<Response<AdminExplainAnswer>, Status> {
        let recalled = self.0.issuance.recall(wanted).await.map_err(|error| {
            tracing::error!(request_id = %id, error = %chain(&error), "the journal cannot be read");
            Refused::new(Class::Broken, "journal_unreadable", "the journal cannot be read; see the log", id)
                .into_status()
        })?;
        let unknown = || {
            let detail = "the journal knows no such request; `lanyard audit show` lists those it does";
            Refused::new(Class::Absent, "request_unknown", detail, id).into_status()
        };
        rendered(&recalled.ok_or_else(unknown)?, id)
    }
}

fn rendered(walk: &impl Serialize, id: &RequestId) -> Result<Response<AdminExplainAnswer>, Status> {
    let json = serde_json::to_vec(walk).map_err(|_odd| {
        Refused::new(Class::Broken, "not_rendered", "the walk cannot be written as JSON", id).into_status()
    })?;
    Ok(Response::new(AdminExplainAnswer { walk: json.into() }))
}
