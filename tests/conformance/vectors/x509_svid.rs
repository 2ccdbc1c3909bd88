//! Certificates: each built as the baseline leaf with one change, and shown to whoever reads certificates.

use super::Judge;

pub(super) fn judge() -> Judge {
    Box::new(|_vector| None)
}
