//! Whether an authority in a chain may have signed what stands below it: its rights, its place, its constraints.

use super::X509SvidError;
use crate::identity::SpiffeId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints};

/// An authority at its place in a path, leaf first.
pub(super) struct Link<'p, 'a> {
    pub(super) path: &'p [X509Certificate<'a>],
    pub(super) at: usize,
}

/// Checks the authority at its place (X509-6, X509-7, X509-11, X509-14 to X509-16).
pub(super) fn check_issuer(link: &Link<'_, '_>) -> Result<(), X509SvidError> {
    let Link { path, at } = *link;
    let Some(authority) = path.get(at) else { return Ok(()) };
    let constraints = authority.basic_constraints().ok().flatten();
    let signs = matches!(authority.key_usage(), Ok(Some(usage)) if usage.critical && usage.value.key_cert_sign());
    let Some(constraints) = constraints.filter(|found| found.value.ca && signs) else {
        return Err(X509SvidError::Authority { at });
    };
    // Between an authority at place n and the leaf stand n - 1 others.
    let below = u32::try_from(at.saturating_sub(1)).unwrap_or(u32::MAX);
    if constraints.value.path_len_constraint.is_some_and(|most| below > most) {
        return Err(X509SvidError::PathLength { at });
    }
    let domains_own = |uri: &str| SpiffeId::parse(uri).is_ok_and(|id| !id.names_a_workload());
    if uris(authority).any(|uri| !domains_own(uri)) || uris(authority).count() > 1 {
        return Err(X509SvidError::AuthorityId { at });
    }
    match authority.name_constraints() {
        Ok(None) => Ok(()),
        Ok(Some(constraints)) => check_names(path, at, constraints.value),
        Err(_doubled) => Err(X509SvidError::NameConstraint { at }),
    }
}

/// Every name below must be within; a constraint on a kind of name that is not judged here must have nothing to judge.
fn check_names(
    path: &[X509Certificate<'_>],
    at: usize,
    constraints: &NameConstraints<'_>,
) -> Result<(), X509SvidError> {
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    for (below, certificate) in path.iter().enumerate().take(at) {
        for name in names(certificate) {
            if !within(name, permitted, excluded) {
                return Err(X509SvidError::NameConstraint { at: below });
            }
        }
        let of_subject = |subtree: &GeneralSubtree<'_>| matches!(subtree.base, GeneralName::DirectoryName(_));
        let named = certificate.subject().iter().next().is_some();
        if named && permitted.iter().chain(excluded).any(of_subject) {
            return Err(X509SvidError::NameConstraint { at: below });
        }
    }
    Ok(())
}

/// RFC 5280 §4.2.1.10: within a permitted subtree of its kind, if there is one, and in no excluded one.
fn within(name: &GeneralName<'_>, permitted: &[GeneralSubtree<'_>], excluded: &[GeneralSubtree<'_>]) -> bool {
    let same_kind =
        |subtree: &&GeneralSubtree<'_>| std::mem::discriminant(&subtree.base) == std::mem::discriminant(name);
    let covers = |subtree: &GeneralSubtree<'_>| match (name, &subtree.base) {
        (GeneralName::URI(uri), GeneralName::URI(domain)) => covers_host(domain, host_of(uri)),
        (GeneralName::DNSName(host), GeneralName::DNSName(domain)) => {
            host.eq_ignore_ascii_case(domain) || covers_host(&format!(".{domain}"), host) || domain.is_empty()
        }
        // Of other kinds nobody here can tell.
        _ => false,
    };
    // Which hosts a wildcard stands for is not said (Go's CVE-2025-61727): nothing excluded may be among them.
    let wildcard = matches!(name, GeneralName::DNSName(host) if host.contains('*'));
    let judged = matches!(name, GeneralName::URI(_) | GeneralName::DNSName(_)) && !wildcard;
    let mut concerned = permitted.iter().filter(same_kind).peekable();
    let allowed = concerned.peek().is_none() || concerned.any(covers);
    let mut forbidding = excluded.iter().filter(same_kind);
    allowed && !forbidding.any(|subtree| !judged || covers(subtree))
}

/// A constraint on URIs names a host, or with a dot before it all hosts below.
fn covers_host(domain: &str, host: &str) -> bool {
    let (domain, host) = (domain.to_ascii_lowercase(), host.to_ascii_lowercase());
    if domain.starts_with('.') { host.ends_with(&domain) } else { host == domain }
}

fn host_of(uri: &str) -> &str {
    uri.split_once("://").and_then(|(_scheme, rest)| rest.split('/').next()).unwrap_or_default()
}

fn names<'p, 'a>(certificate: &'p X509Certificate<'a>) -> impl Iterator<Item = &'p GeneralName<'a>> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.map(|names| names.value.general_names.iter()).into_iter().flatten()
}

fn uris<'p>(certificate: &'p X509Certificate<'_>) -> impl Iterator<Item = &'p str> {
    names(certificate).filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
}
