//! Several trust domains' bundles in one document (SPIFFE Trust Domain and Bundle §5): all of it, or nothing.

use super::{Bundle, BundleError, StrictJson, StrictJsonError};
use crate::identity::{TrustDomain, TrustDomainError};
use crate::telemetry::quotable;
use serde_json::Value;

/// The largest document that is read; a bundle in it has at most what a bundle has alone.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bundles, each with the name that it stands under. How often to look again is the reader's own choice: what an inner
/// bundle says of it is for others (TDB-23).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BundleMap(Vec<Bundle>);

/// Why a document is no bundle map.
#[derive(Debug, thiserror::Error)]
pub enum BundleMapError {
    /// One of its bundles is none.
    #[error("the bundle of {trust_domain}")]
    Bundle {
        /// Whose.
        trust_domain: TrustDomain,
        /// What is wrong with it.
        source: BundleError,
    },
    /// Not a JSON object, data behind it, or a trust domain twice (TDB-22).
    #[error("the bundle map is not a strict JSON object")]
    Json(#[from] StrictJsonError),
    /// A key that is no bare trust domain name (TDB-21).
    #[error("{name:?} is no name of a trust domain")]
    Name {
        /// The key.
        name: String,
        /// What is wrong with it.
        source: TrustDomainError,
    },
    /// Over 16 MiB.
    #[error("the bundle map has {actual} bytes, at most {DOCUMENT_BYTES_MAX} are read")]
    TooLarge {
        /// What came.
        actual: usize,
    },
    /// `trust_domains` is absent or no object.
    #[error("the bundle map has no object \"trust_domains\"")]
    TrustDomains,
}

impl BundleMap {
    /// Reads a bundle map; one bundle that is none refuses all, so that no trust domain vanishes by a slip.
    ///
    /// # Errors
    /// See [`BundleMapError`].
    pub fn parse(json: &[u8]) -> Result<Self, BundleMapError> {
        if json.len() > DOCUMENT_BYTES_MAX {
            return Err(BundleMapError::TooLarge { actual: json.len() });
        }
        let document = StrictJson::object(json)?;
        let all = document.get("trust_domains").and_then(Value::as_object).ok_or(BundleMapError::TrustDomains)?;
        let bundles = all.iter().map(|(name, bundle)| {
            let trust_domain =
                TrustDomain::parse(name).map_err(|source| BundleMapError::Name { name: quotable(name), source })?;
            let read = bundle.as_object().ok_or(BundleError::Json(StrictJsonError::NotAnObject));
            read.and_then(|bundle| Bundle::from_document(trust_domain.clone(), bundle))
                .map(|(bundle, _odd)| bundle)
                .map_err(|source| BundleMapError::Bundle { trust_domain, source })
        });
        Ok(Self(bundles.collect::<Result<_, _>>()?))
    }

    /// The bundles, in the order of their names.
    pub fn bundles(&self) -> &[Bundle] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: TDB-21, TDB-22, TDB-24, FED-26.
    #[test]
    fn a_map_is_taken_whole_or_not_at_all_and_each_bundle_keeps_its_name() {
        let map = BundleMap::parse(br#"{"trust_domains":{"b.example":{"keys":[]},"a.example":{"keys":[]}}}"#).unwrap();
        let names: Vec<_> = map.bundles().iter().map(|bundle| bundle.trust_domain.as_str()).collect();
        assert_eq!(names, ["a.example", "b.example"]);
        let one_is_none = r#"{"trust_domains":{"a.example":{"keys":[]},"b.example":{"keys":7}}}"#;
        let refused = BundleMap::parse(one_is_none.as_bytes()).unwrap_err();
        assert!(
            matches!(&refused, BundleMapError::Bundle { trust_domain, .. } if trust_domain.as_str() == "b.example")
        );
        let twice = r#"{"trust_domains":{"a.example":{"keys":[]},"a.example":{"keys":[]}}}"#;
        assert!(matches!(BundleMap::parse(twice.as_bytes()), Err(BundleMapError::Json(_))));
        let huge = vec![b' '; DOCUMENT_BYTES_MAX + 1];
        assert!(matches!(BundleMap::parse(&huge), Err(BundleMapError::TooLarge { .. })));
        for odd in ["{}", r#"{"trust_domains":[]}"#, r#"{"trust_domains":{"a.example":[]}}"#, "[]"] {
            assert!(BundleMap::parse(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_document_is_a_map_or_refused(json in "\\PC{0,80}", name in "\\PC{0,20}", inner in "\\PC{0,20}") {
            drop(BundleMap::parse(json.as_bytes()));
            let document = serde_json::json!({"trust_domains": {name.as_str(): {"keys": [inner]}}}).to_string();
            let read = BundleMap::parse(document.as_bytes());
            proptest::prop_assert_eq!(read.is_ok(), TrustDomain::parse(&name).is_ok());
        }
    }
}
