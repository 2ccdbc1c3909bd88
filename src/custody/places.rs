//! The places of the configuration, by their names, and what is done in them.

use super::pkcs11::{Module, Pkcs11};
use super::place::{Place, Waiting};
use super::transit::Transit;
use super::wrap::Wrap;
use super::{AuthorityKey, CustodyError, Label, MemoryPlace, PlaceFault, PlacedKey};
use crate::crypto::PublicKey;
use crate::identity::TrustDomain;
use crate::vault::Vault;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Where new keys are made, and where others may be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PlacesSettings {
    /// The place of new roots; none for the keyring.
    pub root: Option<String>,
    /// All places.
    pub places: Vec<PlaceSettings>,
}

/// A place as configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlaceSettings {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub kind: PlaceKind,
}

/// What a place is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PlaceKind {
    /// Our own memory: what is made there ends with the process.
    Memory,
    /// A token of a security module.
    Pkcs11 {
        /// The module's library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// Where the user's PIN is, read at each login.
        pin_file: PathBuf,
    },
    /// The transit engine of the configured Vault.
    VaultTransit {
        /// Where it is mounted.
        mount: String,
    },
}

/// The places; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Places {
    root: Option<Arc<str>>,
    signers: BTreeMap<Arc<str>, Arc<dyn Place>>,
    wraps: BTreeMap<Arc<str>, Arc<dyn Wrap>>,
}

impl Places {
    /// As configured. Nobody is asked yet; a transit engine without a Vault is left out.
    pub fn new(settings: &PlacesSettings, vault: Option<&Arc<Vault>>) -> Self {
        let mut modules: BTreeMap<&PathBuf, Module> = BTreeMap::new();
        let mut places = Self { root: settings.root.as_deref().map(Into::into), ..Self::default() };
        for PlaceSettings { name, kind } in &settings.places {
            match (kind, vault) {
                (PlaceKind::Memory, _) => places = places.with(name, Arc::new(MemoryPlace::default())),
                (PlaceKind::Pkcs11 { module, token, pin_file }, _) => {
                    let module = modules.entry(module).or_insert_with(|| Module::at(module.clone()));
                    let token = Pkcs11::new(module.clone(), token.clone(), pin_file.clone());
                    places = places.with_both(name, Arc::new(token));
                }
                (PlaceKind::VaultTransit { mount }, Some(vault)) => {
                    places = places.with_both(name, Arc::new(Transit::new(Arc::clone(vault), mount.clone())));
                }
                (PlaceKind::VaultTransit { .. }, None) => {}
            }
        }
        places
    }

    fn with_both<P: Place + Wrap>(self, name: &str, place: Arc<P>) -> Self {
        let wrap: Arc<dyn Wrap> = Arc::<P>::clone(&place);
        self.with(name, place).with_wrap(name, wrap)
    }

    /// With one more that wraps.
    #[must_use]
    pub fn with_wrap(mut self, name: &str, wrap: Arc<dyn Wrap>) -> Self {
        self.wraps.insert(name.into(), wrap);
        self
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, name: &str, place: Arc<dyn Place>) -> Self {
        self.signers.insert(name.into(), place);
        self
    }

    /// In which new roots are made.
    #[must_use]
    pub fn with_roots_in(self, name: &str) -> Self {
        Self { root: Some(name.into()), ..self }
    }

    /// The place of new roots; none for the keyring.
    pub const fn of_roots(&self) -> Option<&Arc<str>> {
        self.root.as_ref()
    }

    /// A key that is known to be there.
    pub fn key(&self, place: &str, label: Label, public: PublicKey) -> AuthorityKey {
        AuthorityKey::Placed(PlacedKey { at: self.at(place), place: place.into(), label, public })
    }

    /// The key under a label: what is there already, or a new one. So what was begun and not finished is finished.
    ///
    /// # Errors
    /// See [`CustodyError`].
    pub async fn make(&self, place: &str, label: &Label) -> Result<AuthorityKey, CustodyError> {
        let at = self.at(place);
        let made = async {
            match at.find(label).await? {
                Some(public) => Ok(public),
                None => at.make(label).await,
            }
        };
        Ok(self.key(place, label.clone(), made.await.map_err(of(place))?))
    }

    /// The key under a label.
    ///
    /// # Errors
    /// `NotThere`, and whatever else a place can say.
    pub async fn find(&self, place: &str, label: &Label) -> Result<AuthorityKey, CustodyError> {
        let found = self.at(place).find(label).await.map_err(of(place))?;
        let public = found.ok_or_else(|| self.at(place).lacks(label)).map_err(of(place))?;
        Ok(self.key(place, label.clone(), public))
    }

    /// Deletes a key, for good.
    ///
    /// # Errors
    /// See [`CustodyError`].
    pub async fn delete(&self, place: &str, label: &Label) -> Result<(), CustodyError> {
        self.at(place).delete(label).await.map_err(of(place))
    }

    /// Our keys in each place, and which places did not say.
    pub async fn list(&self, trust_domain: &TrustDomain) -> (Vec<(Arc<str>, Label)>, Vec<CustodyError>) {
        let (mut ours, mut silent) = (Vec::new(), Vec::new());
        for (name, place) in &self.signers {
            match place.list().await {
                Ok(all) => {
                    let labels = all.iter().filter_map(|label| Label::of(label, trust_domain));
                    ours.extend(labels.map(|label| (Arc::clone(name), label)));
                }
                Err(fault) => silent.push(of(name)(fault)),
            }
        }
        (ours, silent)
    }

    /// Wraps a secret.
    ///
    /// # Errors
    /// See [`CustodyError`].
    pub async fn wrap(&self, place: &str, label: &Label, secret: &[u8]) -> Result<Vec<u8>, CustodyError> {
        self.wrapping(place)?.wrap(label, secret).await.map_err(of(place))
    }

    /// Opens what a place has wrapped.
    ///
    /// # Errors
    /// See [`CustodyError`].
    pub async fn open(&self, place: &str, label: &Label, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
        self.wrapping(place)?.open(label, wrapped).await.map_err(of(place))
    }

    fn wrapping(&self, place: &str) -> Result<&Arc<dyn Wrap>, CustodyError> {
        self.wraps.get(place).ok_or_else(|| of(place)(PlaceFault::NotConfigured))
    }

    fn at(&self, place: &str) -> Arc<dyn Place> {
        self.signers.get(place).cloned().unwrap_or_else(|| Arc::new(Unconfigured))
    }
}

fn of(place: &str) -> impl Fn(PlaceFault) -> CustodyError {
    let place = place.to_owned();
    move |fault| CustodyError { place: place.clone(), fault }
}

/// Stands in for a place that the configuration names no more.
#[derive(Debug)]
struct Unconfigured;

impl Unconfigured {
    fn no<T: Send + 'static>() -> Waiting<'static, T> {
        Box::pin(std::future::ready(Err(PlaceFault::NotConfigured)))
    }
}

impl Place for Unconfigured {
    fn make<'a>(&'a self, _label: &'a Label) -> Waiting<'a, PublicKey> {
        Self::no()
    }

    fn find<'a>(&'a self, _label: &'a Label) -> Waiting<'a, Option<PublicKey>> {
        Self::no()
    }

    fn sign<'a>(&'a self, _label: &'a Label, _message: &'a [u8]) -> Waiting<'a, Vec<u8>> {
        Self::no()
    }

    fn list(&self) -> Waiting<'_, Vec<String>> {
        Self::no()
    }

    fn delete<'a>(&'a self, _label: &'a Label) -> Waiting<'a, ()> {
        Self::no()
    }
}
