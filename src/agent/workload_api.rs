//! The SPIFFE Workload API: five RPCs over what a caller is served (SPIFFE Workload API §5, §6).

use super::desk::NO_IDENTITY;
use super::host::HostSettings;
use super::keeper::Identity;
use super::served::{Caller, States};
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::identity::SpiffeId;
use crate::svid::{JwtSvidError, validate_jwt_svid};
use crate::wire::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use crate::wire::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest, X509svidResponse,
};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Metadata of every call (SPIFFE Workload Endpoint §6.1), against requests forged through a browser or proxy.
const HEADER: &str = "workload.spiffe.io";

/// Who may ask, and which job they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Callers {
    /// Whoever sees the socket is the job; its folder is mounted only where the job is.
    Any,
    /// Processes of many jobs, told apart by their cgroups.
    Jobs(HostSettings),
    /// Processes of our own uid are the job.
    OwnUid,
    /// Processes of these uids are the job, of those that see the socket.
    Uids(BTreeSet<u32>),
}

/// Turns away what does not carry the header; asked of the Workload API only, not of other services on the socket (EP-16).
pub(super) fn with_header(request: Request<()>) -> Result<Request<()>, Status> {
    let mut values = request.metadata().get_all(HEADER).iter();
    match (values.next().map(tonic::metadata::MetadataValue::as_bytes), values.next()) {
        (Some(b"true"), None) => Ok(request),
        _ => Err(Status::invalid_argument(format!("the call must carry `{HEADER}: true` once"))),
    }
}

/// See the file's opening words.
#[derive(Debug)]
pub(super) struct WorkloadApi {
    pub(super) clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = States<X509svidResponse>;
    type FetchX509BundlesStream = States<X509BundlesResponse>;
    type FetchJWTBundlesStream = States<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        Ok(Caller::of(&request)?.states(x509_svids))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Ok(Caller::of(&request)?
            .states(|identity| X509BundlesResponse { crl: Vec::new(), bundles: x509_bundles(identity.bundles()) }))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Ok(Caller::of(&request)?.states(|identity| {
            // Ours is there even without keys; of others, what is empty says nothing that its absence does not.
            let worth = |bundle: &&Bundle| **bundle == *identity.bundle || !bundle.jwt_authorities.is_empty();
            let bundles = identity.bundles().filter(worth);
            JwtBundlesResponse { bundles: bundles.map(|bundle| (named(bundle), bundle.to_jwks().into())).collect() }
        }))
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Result<Response<JwtsvidResponse>, Status> {
        let caller = Caller::of(&request)?;
        let JwtsvidRequest { audience, spiffe_id } = request.into_inner();
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(Status::invalid_argument("an audience is needed, and none may be empty"));
        }
        let wanted = match spiffe_id.as_str() {
            "" => None,
            id => Some(SpiffeId::parse(id).map_err(|error| Status::invalid_argument(error.to_string()))?),
        };
        let identity = caller.identity().await?;
        let mut svids = Vec::new();
        for own in identity.svids.iter().filter(|own| wanted.as_ref().is_none_or(|id| *id == own.spiffe_id)) {
            let svid = caller.job.jwt_svids.of(&identity, &own.profile, &audience).await;
            let svid = svid.map_err(|error| Status::from(&error))?;
            svids.push(Jwtsvid { spiffe_id: own.spiffe_id.as_str().to_owned(), svid, hint: own.profile.clone() });
        }
        if svids.is_empty() {
            return Err(Status::permission_denied(NO_IDENTITY));
        }
        caller.stays()?;
        Ok(Response::new(JwtsvidResponse { svids }))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let caller = Caller::of(&request)?;
        let ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        if audience.is_empty() || svid.is_empty() {
            return Err(Status::invalid_argument("an audience and an SVID are needed"));
        }
        let identity = caller.identity().await?;
        let validated = |by: &Identity| {
            let bundles: Vec<_> = by.bundles().collect();
            validate_jwt_svid(&svid, &audience, &bundles, self.clock.now())
        };
        let mut verdict = validated(&identity);
        if let Err(JwtSvidError::UnknownKey { trust_domain, .. }) = &verdict {
            caller.job.newer_keys.awaited(&identity, trust_domain, caller.job.shown.clone()).await;
            verdict = validated(&caller.identity().await?);
        }
        let (spiffe_id, mut claims) = verdict.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let is_own = identity.svids.iter().any(|own| own.spiffe_id.trust_domain() == spiffe_id.trust_domain());
        // What another trust domain says besides may mean anything there.
        claims.retain(|name, _| is_own || REGISTERED_CLAIMS.contains(&name.as_str()));
        let claims = Some(as_struct(with_audience_list(claims)));
        Ok(Response::new(ValidateJwtsvidResponse { spiffe_id: spiffe_id.as_str().to_owned(), claims }))
    }
}

/// The key of a trust domain in a map of bundles: its SPIFFE ID, not its bare name.
fn named(bundle: &Bundle) -> String {
    bundle.trust_domain.id().as_str().to_owned()
}

/// A bundle without X.509 authorities is left out: clients take the whole message for broken over an empty one, and trust
/// nobody of a trust domain that is not there.
fn x509_bundles<'a, I: Iterator<Item = &'a Bundle>>(bundles: I) -> HashMap<String, Bytes> {
    let worth = bundles.filter(|bundle| !bundle.x509_authorities.is_empty());
    worth.map(|bundle| (named(bundle), bundle.to_der().into())).collect()
}

fn x509_svids(identity: &Identity) -> X509svidResponse {
    let bundle = Bytes::from(identity.bundle.to_der());
    let message = |own: &super::keeper::Svid| X509svid {
        spiffe_id: own.spiffe_id.as_str().to_owned(),
        x509_svid: own.chain.iter().flat_map(|der| der.iter().copied()).collect(),
        x509_svid_key: Bytes::copy_from_slice(own.key.pkcs8_der()),
        bundle: bundle.clone(),
        hint: own.profile.clone(),
    };
    let federated_bundles = x509_bundles(identity.federated.bundles().iter());
    X509svidResponse { svids: identity.svids.iter().map(message).collect(), crl: Vec::new(), federated_bundles }
}

/// RFC 7519 §4.1.
const REGISTERED_CLAIMS: [&str; 7] = ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"];

/// `aud` as a list, also where the token has a single text (WAPI-32).
fn with_audience_list(
    mut claims: serde_json::Map<String, serde_json::Value>,
) -> serde_json::Map<String, serde_json::Value> {
    if let Some(audience) = claims.get_mut("aud").filter(|audience| audience.is_string()) {
        *audience = serde_json::Value::Array(vec![audience.take()]);
    }
    claims
}

fn as_struct(claims: serde_json::Map<String, serde_json::Value>) -> prost_types::Struct {
    prost_types::Struct { fields: claims.into_iter().map(|(name, value)| (name, as_value(value))).collect() }
}

fn as_value(value: serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(truth) => Kind::BoolValue(truth),
        // A Struct's numbers are doubles, which is fine for times.
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(as_value).collect() })
        }
        serde_json::Value::Object(members) => Kind::StructValue(as_struct(members)),
    };
    prost_types::Value { kind: Some(kind) }
}
