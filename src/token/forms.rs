//! What the texts of a token must look like, one by one.

use super::providers::TEXT_BYTES_MAX;
use crate::crypto::Digest;

/// `^[1-9][0-9]{0,18}$`: 19 digits always fit into 64 bits.
pub(super) fn digits(text: &str) -> Option<u64> {
    let canonical =
        (1..=19).contains(&text.len()) && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    canonical.then(|| text.parse().ok()).flatten()
}

/// An id of ours for what has a name alone: 63 bits of its digest, as large as ids get.
pub(super) fn named(text: &str) -> u64 {
    let digest = Digest::of(text.as_bytes());
    let (first, _) = digest.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
    (u64::from_be_bytes(*first) >> 1).max(1)
}

/// Names of Kubernetes hold neither colons nor slashes, so that no two accounts become one path.
pub(super) fn account(text: &str) -> Option<String> {
    let (namespace, name) = text.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let path = format!("{namespace}/{name}");
    (is_path(&path) && path.matches('/').count() == 1).then_some(path)
}

pub(super) fn spiffe_path(text: &str) -> Option<&str> {
    let (_trust_domain, path) = text.strip_prefix("spiffe://")?.split_once('/')?;
    is_path(path).then_some(path)
}

/// Segments of GitLab's characters, none empty, `.` or `..`.
pub(super) fn is_path(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
        && text.split('/').all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        })
}
