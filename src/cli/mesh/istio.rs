//! `lanyard policy render istio`.

use super::command::Rendered;
use super::kubernetes::ServiceArgs;
use super::rules::{RulesArgs, roots};
use crate::cli::failure::WrongUsage;
use crate::config::parse_duration;
use crate::identity::SpiffeId;
use crate::mesh::{IstioService, IstioTrust, Mesh};
use std::path::PathBuf;
use std::time::Duration;

/// What can be typed. The objects' names, kinds and API versions stay as they are; all else is a flag
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) rules: RulesArgs,
    #[command(flatten)]
    service: ServiceArgs,
    /// The name that callers use [default: SERVICE.NAMESPACE.svc.cluster.local]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The longest life of a connection from the mesh's own callers; a job's proxy has its own
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_duration)]
    connection_age: Duration,
    /// The service's own SPIFFE ID, where the mesh does not know it by itself
    #[arg(long, value_name = "SPIFFE-ID", value_parser = SpiffeId::parse)]
    server_id: Option<SpiffeId>,
    /// Values for the istiod chart in place of objects: our roots, and what switches them on
    #[arg(long, requires = "trust")]
    mesh_config: bool,
    /// Our roots, as PEM or SPIFFE bundle, for --mesh-config; from `lanyard bundle show`
    #[arg(long, value_name = "FILE", group = "trust", requires = "mesh_config")]
    roots: Option<PathBuf>,
    /// Our bundle endpoint, for --mesh-config; istiod trusts its certificate only by a public authority
    #[arg(long, value_name = "URL", group = "trust", requires = "mesh_config")]
    bundle_url: Option<String>,
}

/// Objects or values.
pub(super) fn render(args: &Args) -> anyhow::Result<Rendered> {
    let Some(rules) = args.rules.load()? else { return Ok(Rendered::Refused) };
    let trust_domain = &rules.trust_domain;
    if args.mesh_config {
        let trust = match (&args.roots, &args.bundle_url) {
            (Some(file), _) => IstioTrust::Pem(roots(file)?),
            (None, Some(url)) if is_https(url) => IstioTrust::Url(url.clone()),
            (None, _) => return Err(WrongUsage::new("--bundle-url: write an https URL").into()),
        };
        let advice = vec![
            "istiod takes roots of other trust domains only with ISTIO_MULTIROOT_MESH=true, and proxies only with \
             PROXY_CONFIG_XDS_AGENT=true: both are in the values; restart istiod, then the proxies"
                .to_owned(),
        ];
        return Ok(Rendered::Objects { objects: vec![trust.values(trust_domain)?], advice });
    }
    let workload = args.service.workload()?;
    let Some(admitted) = args.rules.admitted(&rules, &Mesh::Istio) else { return Ok(Rendered::Refused) };
    let by_cluster = || IstioService::cluster_host(&workload.service, &workload.namespace);
    let host = args.host.clone().unwrap_or_else(by_cluster);
    let (connection_age, server_id) = (args.connection_age, args.server_id.clone());
    let service = IstioService { workload, host, connection_age, server_id };
    let advice = vec![format!(
        "where a policy of yours says `namespaces:`, add `notTrustDomains: [\"{trust_domain}\"]` beside it (Istio 1.30): \
         Istio reads namespaces out of any trust domain's IDs"
    )];
    Ok(Rendered::Objects { objects: service.objects(&admitted, trust_domain)?, advice })
}

fn is_https(url: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace();
    url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.contains(odd))
}
