//! `lanyard.v1.Admin`: what operators ask of a running server.

use super::{accounts, authorities, backups, bundles, orphans, pins};
use crate::api::Operator;
use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::api::reloads::NotReloaded;
use crate::issuance::RequestId;
use crate::telemetry::chain;
use crate::wire::lanyard::{
    AddBanAnswer, AddBanRequest, AdminExplainAnswer, AdminExplainRequest, ChangeAuthorityAnswer,
    ChangeAuthorityRequest, ConfirmHolderAnswer, ConfirmHolderRequest, CreateBackupRequest, CrlShown,
    DeleteBundleAnswer, DeleteBundleRequest, DeleteOrphanAnswer, DeleteOrphanRequest, DeletePinAnswer,
    DeletePinRequest, ErasePersonAnswer, ErasePersonRequest, ForgetAccountAnswer, ForgetAccountRequest, ListBansAnswer,
    ListBansRequest, ListBundlesAnswer, ListBundlesRequest, ListOrphansAnswer, ListOrphansRequest, ListPinsAnswer,
    ListPinsRequest, ListSessionsRequest, ReloadPolicyAnswer, ReloadPolicyRequest, RemoveBanAnswer, RemoveBanRequest,
    RevokeSessionsRequest, SessionsAnswer, SetBundleAnswer, SetBundleRequest, SetPinAnswer, SetPinRequest,
    ShowAuthorityAnswer, ShowAuthorityRequest, ShowBundleAnswer, ShowBundleRequest, ShowCrlsAnswer, ShowCrlsRequest,
    ShowRekeyingAnswer, ShowRekeyingRequest, admin_explain_request::Subject, admin_server,
};
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service. Whoever reaches it has been let in by the socket.
#[derive(Debug)]
pub(in crate::api) struct Admin(pub(in crate::api) Arc<Desk>);

#[tonic::async_trait]
impl admin_server::Admin for Admin {
    async fn show_bundle(&self, request: Request<ShowBundleRequest>) -> Result<Response<ShowBundleAnswer>, Status> {
        bundles::show(&self.0, &request.into_inner()).map(Response::new)
    }

    async fn list_bundles(&self, _request: Request<ListBundlesRequest>) -> Result<Response<ListBundlesAnswer>, Status> {
        Ok(Response::new(bundles::list(&self.0)))
    }

    async fn set_bundle(&self, request: Request<SetBundleRequest>) -> Result<Response<SetBundleAnswer>, Status> {
        let by = operator(&request)?;
        bundles::set(&self.0, by, request.into_inner()).await.map(Response::new)
    }

    async fn delete_bundle(
        &self,
        request: Request<DeleteBundleRequest>,
    ) -> Result<Response<DeleteBundleAnswer>, Status> {
        let by = operator(&request)?;
        bundles::delete(&self.0, by, request.into_inner()).await.map(Response::new)
    }

    async fn show_crls(&self, _request: Request<ShowCrlsRequest>) -> Result<Response<ShowCrlsAnswer>, Status> {
        let set = self.0.crls().map_err(Refused::into_status)?;
        let bytes = |list: &Bytes| u64::try_from(list.len()).unwrap_or(u64::MAX);
        let shown = |(name, list): (&String, &Bytes)| CrlShown { authority: name.clone(), bytes: bytes(list) };
        Ok(Response::new(ShowCrlsAnswer {
            number: set.number,
            revoked: u64::try_from(set.revoked).unwrap_or(u64::MAX),
            made_at: set.made_at.unix_timestamp(),
            next_update: set.next_update.unix_timestamp(),
            list: set.lists.iter().map(shown).collect(),
        }))
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
        let Operator { uid, .. } = operator(&request)?;
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

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Result<Response<SessionsAnswer>, Status> {
        self.listed(request.into_inner()).await.map(Response::new)
    }

    async fn revoke_sessions(
        &self,
        request: Request<RevokeSessionsRequest>,
    ) -> Result<Response<SessionsAnswer>, Status> {
        let Operator { uid, .. } = operator(&request)?;
        self.revoked(request.into_inner(), uid).await.map(Response::new)
    }

    async fn list_bans(&self, _request: Request<ListBansRequest>) -> Result<Response<ListBansAnswer>, Status> {
        Ok(Response::new(self.bans()))
    }

    async fn add_ban(&self, request: Request<AddBanRequest>) -> Result<Response<AddBanAnswer>, Status> {
        let Operator { uid, .. } = operator(&request)?;
        self.banned(request.into_inner(), uid).await.map(Response::new)
    }

    async fn remove_ban(&self, request: Request<RemoveBanRequest>) -> Result<Response<RemoveBanAnswer>, Status> {
        let Operator { uid, .. } = operator(&request)?;
        self.ban_lifted(&request.into_inner(), uid).await.map(Response::new)
    }

    async fn erase_person(&self, request: Request<ErasePersonRequest>) -> Result<Response<ErasePersonAnswer>, Status> {
        let Operator { uid, .. } = operator(&request)?;
        self.erased(request.into_inner(), uid).await.map(Response::new)
    }

    async fn forget_account(
        &self,
        request: Request<ForgetAccountRequest>,
    ) -> Result<Response<ForgetAccountAnswer>, Status> {
        let by = operator(&request)?;
        accounts::forget(&self.0, by, request.into_inner()).await.map(Response::new)
    }

    async fn list_pins(&self, request: Request<ListPinsRequest>) -> Result<Response<ListPinsAnswer>, Status> {
        pins::list(&self.0, &request.into_inner()).map(Response::new)
    }

    async fn set_pin(&self, request: Request<SetPinRequest>) -> Result<Response<SetPinAnswer>, Status> {
        let by = operator(&request)?;
        pins::set(&self.0, by, request.into_inner()).await.map(Response::new)
    }

    async fn delete_pin(&self, request: Request<DeletePinRequest>) -> Result<Response<DeletePinAnswer>, Status> {
        let by = operator(&request)?;
        pins::delete(&self.0, by, request.into_inner()).await.map(Response::new)
    }

    async fn show_authority(
        &self,
        request: Request<ShowAuthorityRequest>,
    ) -> Result<Response<ShowAuthorityAnswer>, Status> {
        authorities::show(&self.0, &request.into_inner()).await.map(Response::new)
    }

    async fn show_rekeying(
        &self,
        _request: Request<ShowRekeyingRequest>,
    ) -> Result<Response<ShowRekeyingAnswer>, Status> {
        authorities::rekeying(&self.0).await.map(Response::new)
    }

    async fn change_authority(
        &self,
        request: Request<ChangeAuthorityRequest>,
    ) -> Result<Response<ChangeAuthorityAnswer>, Status> {
        let by = operator(&request)?;
        authorities::change(&self.0, by, request.into_inner()).await.map(Response::new)
    }

    async fn confirm_holder(
        &self,
        request: Request<ConfirmHolderRequest>,
    ) -> Result<Response<ConfirmHolderAnswer>, Status> {
        let by = operator(&request)?;
        authorities::confirm(&self.0, by, request.into_inner()).await.map(Response::new)
    }

    type CreateBackupStream = backups::Parts;

    async fn create_backup(&self, _request: Request<CreateBackupRequest>) -> Result<Response<backups::Parts>, Status> {
        backups::create(&self.0).await.map(Response::new)
    }

    async fn list_orphans(&self, _request: Request<ListOrphansRequest>) -> Result<Response<ListOrphansAnswer>, Status> {
        orphans::list(&self.0).await.map(Response::new)
    }

    async fn delete_orphan(
        &self,
        request: Request<DeleteOrphanRequest>,
    ) -> Result<Response<DeleteOrphanAnswer>, Status> {
        let by = operator(&request)?;
        orphans::delete(&self.0, by, &request.into_inner()).await.map(Response::new)
    }
}

/// Who asks; the socket saw it.
fn operator<T>(request: &Request<T>) -> Result<Operator, Status> {
    let operator = request.extensions().get::<Operator>().cloned();
    operator.ok_or_else(|| Status::internal("nobody knows who asks"))
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
