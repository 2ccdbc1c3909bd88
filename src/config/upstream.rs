//! `[upstream]`: the authority above ours, where no root key is with us.

use super::quantity::SPAN_MAX;
use super::section::Section;
use super::vault::{path_part, read_mount};
use crate::authority::{KeyPlan, first_wanted};
use crate::clock::{Clock as _, SystemClock};
use crate::crypto::Random;
use crate::identity::TrustDomain;
use crate::telemetry::chain;
use crate::upstream::{
    ClusterIssuer, Disk, PkiIssuer, RootsFile, UpstreamError, UpstreamKind, UpstreamSettings, Wanted,
};
use std::time::Duration;
use time::OffsetDateTime;

/// A set of lists without the root's would make consumers refuse everybody.
const NO_CRL: &str = "leave [crl] out: the root's list is the upstream's to sign, and half a set is none";

/// How long a cluster has for its answer, unless somebody approves by hand.
const WAIT: Duration = Duration::from_secs(120);
/// The words for `kind`.
const KINDS: &str = "\"disk\", \"vault\" or \"cert-manager\"";

/// Reads the section and tries what it names, as far as that is on this machine: what is wrong shows before it is needed.
pub(super) fn read_upstream(
    root: &mut Section<'_, '_>,
    trust_domain: Option<&TrustDomain>,
    (name_constraints, intermediate): (bool, Duration),
) -> Option<UpstreamSettings> {
    if !root.holds("upstream") {
        root.skip("upstream");
        return None;
    }
    if root.holds("crl") {
        root.problem("crl", root.line_of("crl"), "revocation lists under an [upstream]", NO_CRL);
    }
    let plan = KeyPlan { intermediate, name_constraints, ..KeyPlan::DEFAULT };
    let has_vault = root.holds("vault");
    let mut upstream = root.section("upstream");
    let line = upstream.line_of("kind");
    let kind = upstream.text("kind", KINDS).or_else(|| upstream.missing("kind", &format!("write {KINDS}")));
    let roots = read_roots(&mut upstream);
    let kind = match kind.as_deref() {
        Some("cert-manager") => read_cert_manager(&mut upstream).map(UpstreamKind::CertManager),
        Some("disk") => {
            let wanted = trust_domain.and_then(|domain| first_wanted(domain, &plan, (now(), &Random::system())).ok());
            read_disk(&mut upstream, roots.as_ref(), wanted.as_ref()).map(UpstreamKind::Disk)
        }
        Some("vault") => {
            if !has_vault {
                upstream.problem("kind", line, "\"vault\", and there is no [vault]", "say in [vault] where it is");
            }
            let mount = read_mount(&mut upstream, "mount", "pki");
            let issuer = upstream.parsed("issuer", "an issuer's name or id", path_part);
            Some(UpstreamKind::VaultPki(PkiIssuer { mount, issuer }))
        }
        Some(other) => {
            upstream.problem("kind", line, format!("\"{other}\""), format!("write {KINDS}"));
            return None;
        }
        None => return None,
    };
    if name_constraints && !matches!(kind, Some(UpstreamKind::Disk(_)) | None) {
        let remedy = "leave keys.name_constraints out: whoever signs there sets its own";
        upstream.problem("kind", line, "name constraints that nobody can be asked for", remedy);
    }
    upstream.finish();
    Some(UpstreamSettings { roots: roots?, kind: kind? })
}

fn now() -> OffsetDateTime {
    SystemClock.now()
}

fn read_roots(upstream: &mut Section<'_, '_>) -> Option<RootsFile> {
    let line = upstream.line_of("roots_file");
    let path = upstream.path("roots_file");
    let path =
        path.or_else(|| upstream.missing("roots_file", "name a PEM file with the roots that our bundle publishes"));
    let roots = RootsFile::new(path?);
    match roots.read(now()) {
        Ok(_roots) => Some(roots),
        Err(fault) => {
            complain(upstream, ("roots_file", line), &fault);
            None
        }
    }
}

fn read_cert_manager(upstream: &mut Section<'_, '_>) -> Option<ClusterIssuer> {
    let namespace = upstream.text("namespace", "the namespace for our requests");
    let namespace = namespace.or_else(|| upstream.missing("namespace", "write the namespace for our requests"));
    let kubeconfig = upstream.path("kubeconfig");
    let wait = upstream.duration("wait", SPAN_MAX).unwrap_or(WAIT);
    let name = upstream.text("issuer", "the issuer's name");
    let name = name.or_else(|| upstream.missing("issuer", "write the name of an issuer that may sign authorities"));
    let kind =
        upstream.text("issuer_kind", "\"Issuer\" or \"ClusterIssuer\"").unwrap_or_else(|| "ClusterIssuer".to_owned());
    let group = upstream.text("issuer_group", "an API group").unwrap_or_else(|| "cert-manager.io".to_owned());
    Some(ClusterIssuer { namespace: namespace?, name: name?, kind, group, kubeconfig, wait })
}

fn read_disk(upstream: &mut Section<'_, '_>, roots: Option<&RootsFile>, wanted: Option<&Wanted>) -> Option<Disk> {
    let lines = (upstream.line_of("certificate"), upstream.line_of("key"));
    let certificate = upstream
        .path("certificate")
        .or_else(|| upstream.missing("certificate", "name the authority's PEM certificate, those above it behind"));
    let key = upstream.path("key").or_else(|| upstream.missing("key", "name the authority's private key, PEM"));
    let disk = Disk { certificate: certificate?, key: key? };
    if let Err(fault) = disk.check(roots?, wanted?, now()) {
        let is_key = matches!(fault, UpstreamError::Key { .. } | UpstreamError::KeyFile(_));
        let place = if is_key { ("key", lines.1) } else { ("certificate", lines.0) };
        complain(upstream, place, &fault);
        return None;
    }
    Some(disk)
}

fn complain(upstream: &Section<'_, '_>, (key, line): (&str, Option<usize>), fault: &UpstreamError) {
    upstream.problem(key, line, chain(fault), fault.remedy());
}
