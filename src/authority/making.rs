//! New keys with their certificates, signed by whoever signs their kind.
//!
//! A key that is made in a place is written down before it is made: whatever happens then, it is found again.

use super::above::Above;
use super::loose::{LooseKey, Looseness};
use super::{Authority, AuthorityKind, KeyOf, KeyPlan, Keyring, KeyringFile, RotatorError, Step};
use crate::crypto::{Hand, KeyId, KeyPair, PublicKey, Random};
use crate::custody::{AuthorityKey, Label};
use crate::svid::{AuthorityFields, Serial};
use crate::upstream::Wanted;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// New keys begin a little in the past, for clocks that run behind.
const BACKDATE: Duration = Duration::from_secs(60);

/// What keys are made with.
#[derive(Debug)]
pub(super) struct Making<'a> {
    pub(super) file: &'a KeyringFile,
    pub(super) plan: &'a KeyPlan,
    pub(super) above: Option<&'a Above>,
    pub(super) random: &'a Random,
    pub(super) now: OffsetDateTime,
}

impl Making<'_> {
    /// The keyring after a step, with the key that it needs, if it needs one. `keyring` itself learns what was begun.
    ///
    /// # Errors
    /// When a key cannot be made or certified; what was begun in a place stands in `keyring`, and in its file.
    pub(super) async fn take(
        &self,
        keyring: &mut Keyring,
        step: &Step,
        adopted: Option<(&str, &Label)>,
    ) -> Result<Keyring, RotatorError> {
        let given = self.above.and_then(|above| above.gives(keyring, step, self.now));
        let made = match (given, step.makes(keyring)) {
            (None, Some((kind, issuer))) => {
                let key = self.key(keyring, kind, adopted).await?;
                Some(self.certified(keyring, kind, key, issuer).await?)
            }
            (given, _) => given,
        };
        Ok(keyring.after(step, made, self.now).accounted(keyring, self.now))
    }

    async fn key(
        &self,
        keyring: &mut Keyring,
        kind: AuthorityKind,
        adopted: Option<(&str, &Label)>,
    ) -> Result<AuthorityKey, RotatorError> {
        let places = self.file.places();
        if let Some((place, label)) = adopted {
            return Ok(places.find(place, label).await?);
        }
        let place = match (kind, places.of_roots()) {
            (AuthorityKind::X509Root, Some(place)) => place,
            (
                AuthorityKind::Journal
                | AuthorityKind::Jwt
                | AuthorityKind::JwtRs256
                | AuthorityKind::X509Intermediate
                | AuthorityKind::X509Root,
                _,
            ) => {
                return Ok(AuthorityKey::Held(Arc::new(KeyPair::generate(kind.key_algorithm())?)));
            }
        };
        let label = match keyring.begun(place, kind) {
            Some(begun) => begun.label.clone(),
            None => self.begin(keyring, kind, place)?,
        };
        Ok(places.make(place, &label).await?)
    }

    /// Writes down what is to be made.
    fn begin(&self, keyring: &mut Keyring, kind: AuthorityKind, place: &str) -> Result<Label, RotatorError> {
        let generation = keyring.next_generation(kind);
        let label = Label::new(&keyring.trust_domain, kind.as_str(), generation, self.random);
        let (place, why, since) = (place.to_owned(), Looseness::Begun, self.now);
        keyring.loose.push(LooseKey { place, label: label.clone(), kind, generation, why, since });
        if let Err(fault) = self.file.save(keyring) {
            keyring.loose.pop();
            return Err(fault.into());
        }
        Ok(label)
    }

    async fn certified(
        &self,
        keyring: &Keyring,
        kind: AuthorityKind,
        key: AuthorityKey,
        issuer: Option<KeyId>,
    ) -> Result<Authority, RotatorError> {
        let (now, plan) = (super::draft::whole_seconds(self.now), self.plan);
        let root = issuer.and_then(|root| keyring.find(root));
        let dates = dates(plan, (kind, root), now);
        let certificate = match kind {
            AuthorityKind::Journal | AuthorityKind::Jwt | AuthorityKind::JwtRs256 => None,
            AuthorityKind::X509Root => {
                let fields = fields(keyring, key.public(), (1, "root"), dates, self.random);
                Some(key.sign(|hand: Hand<'_>| Ok::<_, RotatorError>(fields.sign_itself(&hand)?)).await?)
            }
            AuthorityKind::X509Intermediate => {
                let root = root.ok_or(RotatorError::NoRoot)?;
                let certificate: &CertificateDer<'_> = root.certificate.as_ref().ok_or(RotatorError::NoRoot)?;
                let fields = fields(keyring, key.public(), (0, "intermediate"), dates, self.random);
                let fields = AuthorityFields { name_constraints: plan.name_constraints, ..fields };
                let own = root.own_key().ok_or(RotatorError::NoRoot)?;
                Some(own.sign(|hand: Hand<'_>| Ok::<_, RotatorError>(fields.sign(certificate, &hand)?)).await?)
            }
        };
        Ok(Authority { issuer, certificate, ..keyring.newcomer(kind, KeyOf::Us(key), dates, now) })
    }
}

/// From when until when a new key is used: an intermediate never outside the time of its root.
pub(super) fn dates(
    plan: &KeyPlan,
    (kind, root): (AuthorityKind, Option<&Authority>),
    now: OffsetDateTime,
) -> (OffsetDateTime, OffsetDateTime) {
    let (not_before, not_after) = (now - BACKDATE, now + plan.life(kind));
    root.map_or((not_before, not_after), |root| (not_before.max(root.not_before), not_after.min(root.not_after)))
}

/// An intermediate to be certified by an authority above ours.
pub(super) fn wanted(
    keyring: &Keyring,
    plan: &KeyPlan,
    (now, random): (OffsetDateTime, &Random),
) -> Result<Wanted, RotatorError> {
    let now = super::draft::whole_seconds(now);
    let key = Arc::new(KeyPair::generate(AuthorityKind::X509Intermediate.key_algorithm())?);
    let dates = (now - BACKDATE, now + plan.intermediate);
    let fields = fields(keyring, key.public(), (0, "intermediate"), dates, random);
    Ok(Wanted { fields: AuthorityFields { name_constraints: plan.name_constraints, ..fields }, key })
}

fn fields(
    keyring: &Keyring,
    key: &PublicKey,
    (path_length, role): (u8, &str),
    (not_before, not_after): (OffsetDateTime, OffsetDateTime),
    random: &Random,
) -> AuthorityFields {
    let id: KeyId = key.id();
    AuthorityFields {
        trust_domain: keyring.trust_domain.clone(),
        common_name: format!("Lanyard {role} {}", id.to_string().chars().take(8).collect::<String>()),
        key: key.clone(),
        serial: Serial::random(random),
        path_length,
        name_constraints: false,
        not_before,
        not_after,
    }
}
