//! The Rust client (the crate `spiffe`, unmodified), which needs no program of its own.

use serde_json::{Value, json};
use spiffe::transport::{GrpcStatusCode, TransportError};
use spiffe::x509_source::X509SourceUpdates;
use spiffe::{JwtSvid, WorkloadApiClient, WorkloadApiError, X509Source, X509SourceError, X509Svid};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tonic::Code;

/// Obeys until nobody tells it anything any more.
pub(super) async fn run(endpoint: String, mut told: UnboundedReceiver<String>, say: UnboundedSender<Value>) {
    let client = WorkloadApiClient::connect_to(&endpoint).await.unwrap();
    say.send(json!({"step": "ready"})).unwrap();
    while let Some(command) = told.recv().await {
        let mut words = command.split(' ');
        let step = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        if let ("watch", [name]) = (step, &*words) {
            tokio::spawn(watch(endpoint.clone(), (*name).to_owned(), say.clone()));
            continue;
        }
        let answer = obey(&client, step, &words).await;
        tell(&say, step, answer.unwrap_or_else(|error| failure(&error)));
    }
}

async fn obey(client: &WorkloadApiClient, step: &str, words: &[&str]) -> Result<Value, WorkloadApiError> {
    Ok(match (step, words) {
        ("x509_svid", []) => {
            let svid = client.fetch_x509_svid().await?;
            let id = svid.spiffe_id().to_string();
            json!({"spiffe_id": id, "chain": svid.cert_chain().len(), "serial": serial(&svid)})
        }
        ("x509_bundles", []) => {
            let set = client.fetch_x509_bundles().await?;
            let names: Vec<_> = set.iter().map(|(domain, _)| domain.to_string()).collect();
            let authorities: usize = set.iter().map(|(_, bundle)| bundle.authorities().len()).sum();
            json!({"trust_domains": names, "authorities": authorities})
        }
        ("jwt_svid", audience) => {
            let svid = client.fetch_jwt_svid(audience.to_vec(), None).await?;
            let id = svid.spiffe_id().to_string();
            json!({"spiffe_id": id, "audience": svid.audience(), "token": svid.token()})
        }
        ("jwt_bundles", []) => {
            let set = client.fetch_jwt_bundles().await?;
            let names: Vec<_> = set.iter().map(|(domain, _)| domain.to_string()).collect();
            let authorities: usize = set.iter().map(|(_, bundle)| bundle.jwt_authorities().count()).sum();
            json!({"trust_domains": names, "authorities": authorities})
        }
        ("validate", [token, audience]) => {
            client.validate_jwt_token(audience, token).await?;
            let bundles = client.fetch_jwt_bundles().await?;
            let svid = JwtSvid::parse_and_validate(token, &bundles, &[*audience])?;
            json!({"spiffe_id": svid.spiffe_id().to_string()})
        }
        (command, words) => panic!("no such command: {command} {words:?}"),
    })
}

/// Tells what comes over a stream that the library keeps open.
async fn watch(endpoint: String, name: String, say: UnboundedSender<Value>) {
    let source = match X509Source::builder().endpoint(&endpoint).build().await {
        Ok(source) => source,
        Err(error) => return tell(&say, "watch_ended", watched(&name, Err(&error))),
    };
    let mut updates: X509SourceUpdates = source.updated();
    loop {
        match source.svid() {
            Ok(svid) => tell(&say, "update", watched(&name, Ok(&svid))),
            Err(error) => tell(&say, "watch_error", watched(&name, Err(&error))),
        }
        if let Err(error) = updates.changed().await {
            return tell(&say, "watch_ended", watched(&name, Err(&error)));
        }
    }
}

fn watched(name: &str, what: Result<&X509Svid, &X509SourceError>) -> Value {
    match what {
        Ok(svid) => json!({"watch": name, "spiffe_id": svid.spiffe_id().to_string(), "serial": serial(svid)}),
        Err(error) => json!({"watch": name, "message": error.to_string()}),
    }
}

fn serial(svid: &X509Svid) -> String {
    let (_, leaf) = x509_parser::parse_x509_certificate(svid.leaf().as_bytes()).unwrap();
    format!("{:x}", leaf.serial)
}

fn failure(error: &WorkloadApiError) -> Value {
    let denied = matches!(error, WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_));
    let says = |code| matches!(error, WorkloadApiError::Transport(TransportError::Status(it)) if it.code() == code);
    let code = match () {
        () if denied => Code::PermissionDenied,
        () if says(GrpcStatusCode::InvalidArgument) => Code::InvalidArgument,
        () if says(GrpcStatusCode::Unavailable) => Code::Unavailable,
        () => Code::Unknown,
    };
    json!({"code": i32::from(code), "message": error.to_string()})
}

/// A listener that is gone has heard enough.
fn tell(say: &UnboundedSender<Value>, step: &str, mut facts: Value) {
    facts["step"] = step.into();
    drop(say.send(facts));
}
