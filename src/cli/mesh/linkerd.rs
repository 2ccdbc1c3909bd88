//! `lanyard policy render linkerd`.

use super::command::Rendered;
use super::kubernetes::ServiceArgs;
use super::rules::{RulesArgs, roots};
use crate::cli::failure::WrongUsage;
use crate::identity::{Narrow, SpiffeId};
use crate::mesh::{
    Admitted, Anchors, DnsFirst, ExternalWorkload, LinkerdService, Mesh, Name, NotAName, Peer, ProxyEnvironment,
    only_id, server_name, trust_manager_source,
};
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use std::path::PathBuf;

/// What can be typed. The objects' names, kinds and API versions stay as they are; all else is a flag
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("instead"))]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) rules: RulesArgs,
    #[command(flatten)]
    service: ServiceArgs,
    /// The port of the service's pods, or of the external workload
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// What is spoken there [default: Linkerd finds out]
    #[arg(long, value_name = "PROTOCOL", value_parser = ["HTTP/1", "HTTP/2", "gRPC", "opaque", "TLS"])]
    protocol: Option<String>,
    /// An ExternalWorkload in place of the service's objects: a proxy outside the cluster that has the rules' one ID
    #[arg(long, group = "instead", requires_all = ["server_name", "ips"])]
    external_workload: bool,
    /// The environment of a proxy on a runner's host, in place of objects
    #[arg(long, group = "instead", requires_all = ["server_name", "roots", "mesh_roots"])]
    proxy_environment: bool,
    /// Linkerd's own roots and ours, in place of objects: as a text, in a ConfigMap of ours, or ours alone as a source for
    /// trust-manager
    #[arg(long, group = "instead", value_enum, requires = "roots")]
    trust_anchors: Option<AnchorForm>,
    /// The DNS name by which the proxy ends TLS
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    server_name: Option<String>,
    /// The external workload's address; at most one of each kind
    #[arg(long = "ip", value_name = "ADDRESS")]
    ips: Vec<IpAddr>,
    /// The agent's Workload API socket, for the proxy's environment
    #[arg(long, value_name = "PATH", default_value = "/run/lanyard/sockets/api.sock", value_parser = ProxyEnvironment::check_socket)]
    socket: String,
    /// Our roots, as PEM or SPIFFE bundle: the old and the new one while they change; from `lanyard bundle show`
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// The mesh's own roots, PEM; from its ConfigMap linkerd-identity-trust-roots
    #[arg(long, value_name = "FILE")]
    mesh_roots: Option<PathBuf>,
    /// What the ConfigMap of ours is called
    #[arg(long, value_name = "NAME", default_value = "lanyard-trust-anchors")]
    anchors_name: Name,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
enum AnchorForm {
    Configmap,
    Pem,
    TrustManager,
}

/// Objects, anchors or an environment.
pub(super) fn render(args: &Args) -> anyhow::Result<Rendered> {
    if let Some(form) = args.trust_anchors {
        return args.anchors(form);
    }
    let Some(rules) = args.rules.load()? else { return Ok(Rendered::Refused) };
    // A proxy is given its ID as a whole, wherever a DNS name stands first.
    let dns = DnsFirst::of(rules.leaf.dns.as_ref()).filter(|_| !args.proxy_environment && !args.external_workload);
    let Some(admitted) = args.rules.admitted(&rules, &Mesh::Linkerd(dns)) else { return Ok(Rendered::Refused) };
    if args.proxy_environment {
        let (server_id, socket) = (only_id(&admitted)?.clone(), args.socket.clone());
        let (server_name, anchors) = (args.server_name()?, args.whole_anchors()?);
        return Ok(Rendered::Text(ProxyEnvironment { socket, server_id, server_name, anchors }.to_string()));
    }
    let workload = args.service.workload()?;
    let objects = if args.external_workload {
        let (server_name, ips) = (args.server_name()?, args.addresses()?);
        vec![ExternalWorkload { workload, server_name, ips, port: args.port }.object(&admitted)?]
    } else {
        let port = args.port.ok_or_else(|| WrongUsage::new("name the port of the service's pods with --port"))?;
        LinkerdService { workload, port, protocol: args.protocol.clone() }.objects(&admitted)?
    };
    Ok(Rendered::Objects { objects, advice: too_long(&admitted) })
}

/// Linkerd compares IDs of any length; others do not take them all.
fn too_long(admitted: &[Admitted]) -> Vec<String> {
    let exact = admitted.iter().flat_map(|one| &one.peers).filter_map(|peer| match peer {
        Peer::Exact(id) => Some(id),
        Peer::Beginning(_) | Peer::DnsBelow(_) | Peer::Shape(_) => None,
    });
    let told = exact.flat_map(|id| id.too_long_for().into_iter().map(move |reader| (id, reader)));
    let words = |(id, reader): (&SpiffeId, Narrow)| {
        format!(
            "{id} has {} bytes, and {reader}; the numeric layout /projects/{{project_id}}/-/… is shorter",
            id.as_str().len()
        )
    };
    told.map(words).collect()
}

impl Args {
    fn anchors(&self, form: AnchorForm) -> anyhow::Result<Rendered> {
        let (name, namespace) = (self.anchors_name.clone(), &self.service.namespace);
        if name.is_linkerds() {
            return Err(WrongUsage::new(NotAName::Linkerds.to_string()).into());
        }
        let object = match form {
            AnchorForm::Configmap => self.whole_anchors()?.config_map(name, namespace)?,
            AnchorForm::Pem => return Ok(Rendered::Text(self.whole_anchors()?.to_pem())),
            AnchorForm::TrustManager => {
                let source = format!("{{\"configMap\":{{\"name\":\"{name}\",\"key\":\"ca-bundle.crt\"}}}}");
                let object = trust_manager_source(&self.own_roots()?, name, namespace)?;
                let advice = vec![format!(
                    "add it to the sources of the Bundle that holds the mesh's own root: kubectl patch bundle \
                     linkerd-identity-trust-roots --type=json -p '[{{\"op\":\"add\",\"path\":\"/spec/sources/-\",\
                     \"value\":{source}}}]'"
                )];
                return Ok(Rendered::Objects { objects: vec![object], advice });
            }
        };
        Ok(Rendered::Objects { objects: vec![object], advice: Vec::new() })
    }

    fn own_roots(&self) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let file = self.roots.as_ref().ok_or_else(|| WrongUsage::new("name our roots with --roots FILE"))?;
        roots(file)
    }

    fn whole_anchors(&self) -> anyhow::Result<Anchors> {
        let mesh = self.mesh_roots.as_ref().map(|file| roots(file)).transpose()?;
        Ok(Anchors::new(mesh.unwrap_or_default(), self.own_roots()?)?)
    }

    fn server_name(&self) -> anyhow::Result<String> {
        let missing = || WrongUsage::new("name the DNS name by which the proxy ends TLS with --server-name");
        Ok(self.server_name.clone().ok_or_else(missing)?)
    }

    fn addresses(&self) -> anyhow::Result<Vec<IpAddr>> {
        let of_kind = |is_v4: bool| self.ips.iter().filter(|ip| ip.is_ipv4() == is_v4).count();
        if of_kind(true) > 1 || of_kind(false) > 1 {
            return Err(WrongUsage::new("--ip: an external workload has at most one address of each kind").into());
        }
        Ok(self.ips.clone())
    }
}
