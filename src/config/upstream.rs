//! `[upstream]`: the authority above ours, where no root key is with us.

use super::section::Section;
use crate::authority::{KeyPlan, first_wanted};
use crate::clock::{Clock as _, SystemClock};
use crate::crypto::Random;
use crate::identity::TrustDomain;
use crate::telemetry::chain;
use crate::upstream::{Disk, RootsFile, UpstreamError, UpstreamKind, UpstreamSettings, Wanted};

/// A set of lists without the root's would make consumers refuse everybody.
const NO_CRL: &str = "leave [crl] out: the root's list is the upstream's to sign, and half a set is none";

/// Reads the section and tries what it names, as far as that is on this machine: what is wrong shows before it is needed.
pub(super) fn read_upstream(
    root: &mut Section<'_, '_>,
    trust_domain: Option<&TrustDomain>,
    plan: &KeyPlan,
) -> Option<UpstreamSettings> {
    if !root.holds("upstream") {
        root.skip("upstream");
        return None;
    }
    if root.holds("crl") {
        root.problem("crl", root.line_of("crl"), "revocation lists under an [upstream]", NO_CRL);
    }
    let mut upstream = root.section("upstream");
    let kind = upstream.text("kind", "\"disk\"").or_else(|| upstream.missing("kind", "write \"disk\""));
    let line = upstream.line_of("roots_file");
    let roots = upstream
        .path("roots_file")
        .or_else(|| upstream.missing("roots_file", "name a PEM file with the roots that our bundle publishes"))
        .map(RootsFile::new);
    let now = SystemClock.now();
    if let Some(Err(fault)) = roots.as_ref().map(|roots| roots.read(now)) {
        complain(&upstream, ("roots_file", line), &fault);
        return None;
    }
    let wanted = trust_domain.and_then(|domain| first_wanted(domain, plan, (now, &Random::system())).ok());
    let kind = match kind.as_deref()? {
        "disk" => read_disk(&mut upstream, roots.as_ref(), wanted.as_ref()).map(UpstreamKind::Disk),
        other => {
            upstream.problem("kind", None, format!("\"{other}\""), "write \"disk\"");
            None
        }
    };
    upstream.finish();
    Some(UpstreamSettings { roots: roots?, kind: kind? })
}

fn read_disk(upstream: &mut Section<'_, '_>, roots: Option<&RootsFile>, wanted: Option<&Wanted>) -> Option<Disk> {
    let lines = (upstream.line_of("certificate"), upstream.line_of("key"));
    let certificate = upstream
        .path("certificate")
        .or_else(|| upstream.missing("certificate", "name the authority's PEM certificate, those above it behind"));
    let key = upstream.path("key").or_else(|| upstream.missing("key", "name the authority's private key, PEM"));
    let disk = Disk { certificate: certificate?, key: key? };
    if let Err(fault) = disk.check(roots?, wanted?, SystemClock.now()) {
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
