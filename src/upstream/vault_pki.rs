//! Vault's PKI engine as the authority above ours: it signs what is asked for, and its answer is judged like any other.

use super::roots::certificates_of;
use super::{AnswerError, Certifying, Upstream, UpstreamError, Wanted};
use crate::vault::Vault;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// It tries again by itself where it is busy.
const WITHIN: Duration = Duration::from_secs(30);

/// Which engine, and which of its issuers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PkiIssuer {
    /// Where the engine is mounted.
    pub mount: String,
    /// One issuer by its name or id; none for the default one of the day.
    pub issuer: Option<String>,
}

/// See the file's words.
#[derive(Debug)]
pub struct VaultPki {
    vault: Arc<Vault>,
    from: PkiIssuer,
}

/// What it gives.
#[derive(Deserialize)]
struct Signed {
    certificate: String,
    issuing_ca: Option<String>,
    /// Absent where Vault's own authority is the root.
    ca_chain: Option<Vec<String>>,
}

impl PkiIssuer {
    fn path(&self) -> String {
        let mount = &self.mount;
        match &self.issuer {
            Some(issuer) => format!("{mount}/issuer/{issuer}/sign-intermediate"),
            None => format!("{mount}/root/sign-intermediate"),
        }
    }
}

impl VaultPki {
    /// By a Vault that lets us in.
    pub const fn new(vault: Arc<Vault>, from: PkiIssuer) -> Self {
        Self { vault, from }
    }

    async fn sign(&self, wanted: &Wanted) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
        let reply = self.vault.write::<Signed>(&self.from.path(), &asked(wanted)?).await?;
        for warning in &reply.warnings {
            // It gives less than was asked for with a warning, not with a refusal: the certificate's own dates count.
            tracing::warn!(vault = self.vault.address(), %warning, "Vault signed, with a warning");
        }
        let Signed { certificate, issuing_ca, ca_chain } = reply.data;
        let above = ca_chain.filter(|chain| !chain.is_empty()).or_else(|| issuing_ca.map(|issuer| vec![issuer]));
        let text: Vec<_> = [certificate].into_iter().chain(above.unwrap_or_default()).collect();
        let malformed = |at| move || UpstreamError::Answer(AnswerError::Malformed { at });
        let read = |(at, pem): (usize, &String)| certificates_of(pem.as_bytes()).ok_or_else(malformed(at));
        Ok(text.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// With `use_csr_values` off the request's names are dropped, so they stand here again; with it on so would everything else
/// that a request can say. No permitted URI domains: they take host names, and with an ID nothing verifies any more.
fn asked(wanted: &Wanted) -> Result<Value, UpstreamError> {
    Ok(json!({
        "csr": wanted.request()?.as_str(),
        "common_name": wanted.fields.common_name,
        "uri_sans": wanted.fields.trust_domain.id().as_str(),
        "exclude_cn_from_sans": true,
        "use_csr_values": false,
        "max_path_length": wanted.fields.path_length,
        "ttl": format!("{}s", wanted.lifetime().as_secs()),
        "format": "pem",
    }))
}

impl Upstream for VaultPki {
    fn kind(&self) -> &'static str {
        "vault"
    }

    fn within(&self) -> Duration {
        WITHIN
    }

    fn certify<'a>(&'a self, wanted: &'a Wanted, _now: OffsetDateTime) -> Certifying<'a> {
        Box::pin(self.sign(wanted))
    }
}
