//! What an SVID looks like as files, for each kind of reader: names, modes and what stands in which order.

use super::files::{MODE_PUBLIC, MODE_SECRET};
use crate::crypto::PemLabel;
use std::str::FromStr;
use zeroize::Zeroizing;

/// A set of files that belong together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Layout {
    /// `svid_combined.pem`: leaf, intermediates and key in one file, as `HAProxy` reads them.
    Combined,
    /// `cert-chain.pem`, `key.pem`, `root-cert.pem`, as Istio's proxy reads them.
    IstioFiles,
    /// `keystore.pem`, key before chain, and `truststore.pem`, as Kafka reads them (its KIP-651).
    KafkaPem,
    /// `svid.pem`, `svid_key.pem`, `svid_bundle.pem`.
    Pem,
    /// `bundle.TRUST-DOMAIN.pem`: the roots of each trust domain apart.
    PerTrustDomain,
}

/// Every layout by its name in the configuration.
const NAMES: [(&str, Layout); 5] = [
    ("combined", Layout::Combined),
    ("istio-files", Layout::IstioFiles),
    ("kafka-pem", Layout::KafkaPem),
    ("pem", Layout::Pem),
    ("per-td", Layout::PerTrustDomain),
];

/// A name that no layout has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no layout of that name")]
pub struct NoLayout;

impl FromStr for Layout {
    type Err = NoLayout;

    fn from_str(name: &str) -> Result<Self, NoLayout> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, layout)| *layout).ok_or(NoLayout)
    }
}

/// One SVID as PEM texts.
#[derive(Debug)]
pub(super) struct SvidTexts {
    chain: String,
    key: Zeroizing<String>,
    bundle: String,
}

/// A file before it has its whole name.
pub(super) type Named = (&'static str, u32, Zeroizing<String>);

impl SvidTexts {
    pub(super) fn of<'a>(
        chain: impl IntoIterator<Item = &'a [u8]>,
        key: &[u8],
        bundle: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let all = |ders: &mut dyn Iterator<Item = &'a [u8]>| certificates(&ders.collect::<Vec<_>>());
        Self {
            chain: all(&mut chain.into_iter()),
            key: PemLabel::PrivateKey.armour(key),
            bundle: all(&mut bundle.into_iter()),
        }
    }

    /// The files of this SVID in one layout.
    pub(super) fn files(&self, layout: Layout) -> Vec<Named> {
        let secret = |name, parts: [&str; 2]| (name, MODE_SECRET, Zeroizing::new(parts.concat()));
        let public = |name, text: &str| (name, MODE_PUBLIC, Zeroizing::new(text.to_owned()));
        let Self { chain, key, bundle } = self;
        match layout {
            Layout::Combined => vec![secret("svid_combined", [chain, key])],
            Layout::IstioFiles => {
                vec![public("cert-chain", chain), secret("key", [key, ""]), public("root-cert", bundle)]
            }
            Layout::KafkaPem => vec![secret("keystore", [key, chain]), public("truststore", bundle)],
            Layout::Pem => vec![public("svid", chain), secret("svid_key", [key, ""]), public("svid_bundle", bundle)],
            Layout::PerTrustDomain => Vec::new(),
        }
    }
}

/// Certificates as PEM, one after another.
pub(super) fn certificates(ders: &[&[u8]]) -> String {
    ders.iter().map(|der| PemLabel::Certificate.armour(der).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_has_a_name_of_its_own() {
        for (name, layout) in NAMES {
            assert_eq!(name.parse(), Ok(layout));
        }
        assert_eq!("PEM".parse::<Layout>(), Err(NoLayout));
    }

    #[test]
    fn whatever_holds_the_key_is_for_its_owner_alone() {
        let texts = SvidTexts::of([[1].as_slice()], &[2], [[3_u8].as_slice()]);
        for (name, mode, text) in NAMES.iter().flat_map(|(_, layout)| texts.files(*layout)) {
            let expected = if text.contains("PRIVATE KEY") { MODE_SECRET } else { MODE_PUBLIC };
            assert_eq!(mode, expected, "{name}");
        }
    }
}
