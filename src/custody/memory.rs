//! A place in our own memory: for servers whose keys are not to outlive them, and for tests.

use super::place::{Place, Waiting};
use super::{Label, PlaceFault};
use crate::crypto::{CryptoError, KeyAlgorithm, KeyPair, PublicKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A place that forgets everything when it is dropped; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemoryPlace(Arc<Mutex<BTreeMap<Label, Arc<KeyPair>>>>);

impl MemoryPlace {
    fn keys(&self) -> MutexGuard<'_, BTreeMap<Label, Arc<KeyPair>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place for MemoryPlace {
    fn make<'a>(&'a self, label: &'a Label) -> Waiting<'a, PublicKey> {
        let odd = |source: CryptoError| PlaceFault::Crypto { label: label.clone(), source };
        let made = KeyPair::generate(KeyAlgorithm::EcP256).map_err(odd).map(|key| {
            let public = key.public().clone();
            self.keys().insert(label.clone(), Arc::new(key));
            public
        });
        Box::pin(std::future::ready(made))
    }

    fn find<'a>(&'a self, label: &'a Label) -> Waiting<'a, Option<PublicKey>> {
        let found = self.keys().get(label).map(|key| key.public().clone());
        Box::pin(std::future::ready(Ok(found)))
    }

    fn sign<'a>(&'a self, label: &'a Label, message: &'a [u8]) -> Waiting<'a, Vec<u8>> {
        let key = self.keys().get(label).cloned().ok_or_else(|| self.lacks(label));
        let odd = |source: CryptoError| PlaceFault::Crypto { label: label.clone(), source };
        Box::pin(std::future::ready(key.and_then(|key| key.sign(message).map_err(odd))))
    }

    fn list(&self) -> Waiting<'_, Vec<String>> {
        let names = self.keys().keys().map(Label::to_string).collect();
        Box::pin(std::future::ready(Ok(names)))
    }

    fn lacks(&self, label: &Label) -> PlaceFault {
        PlaceFault::Forgotten { label: label.clone() }
    }

    fn delete<'a>(&'a self, label: &'a Label) -> Waiting<'a, ()> {
        drop(self.keys().remove(label));
        Box::pin(std::future::ready(Ok(())))
    }
}
