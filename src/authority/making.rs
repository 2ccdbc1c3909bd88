//! New keys with their certificates, signed by whoever signs their kind.

use super::{Authority, AuthorityKind, AuthorityState, KeyOf, KeyPlan, Keyring, RotatorError, Step};
use crate::crypto::{KeyId, KeyPair, Random};
use crate::svid::{AuthorityFields, Serial};
use crate::upstream::Wanted;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// New keys begin a little in the past, for clocks that run behind.
const BACKDATE: Duration = Duration::from_secs(60);

/// The key that a step needs, if it needs one.
///
/// # Errors
/// When it cannot be made or certified.
pub(super) fn make(
    keyring: &Keyring,
    step: &Step,
    plan: &KeyPlan,
    now: OffsetDateTime,
    random: &Random,
) -> Result<Option<Authority>, RotatorError> {
    let Some((kind, issuer)) = step.makes(keyring) else { return Ok(None) };
    let now = super::draft::whole_seconds(now);
    let (key, generation) = (KeyPair::generate(kind.key_algorithm())?, keyring.next_generation(kind));
    let mut not_before = now - BACKDATE;
    let mut not_after = now + plan.life(kind);
    let certificate = match kind {
        AuthorityKind::Journal | AuthorityKind::Jwt => None,
        AuthorityKind::X509Root => {
            let fields = fields(keyring, &key, (1, "root"), (not_before, not_after), random);
            Some(fields.sign_itself(&key)?)
        }
        AuthorityKind::X509Intermediate => {
            let root = issuer.and_then(|root| keyring.find(root)).ok_or(RotatorError::NoRoot)?;
            let certificate: &CertificateDer<'_> = root.certificate.as_ref().ok_or(RotatorError::NoRoot)?;
            not_before = not_before.max(root.not_before);
            not_after = not_after.min(root.not_after);
            let fields = fields(keyring, &key, (0, "intermediate"), (not_before, not_after), random);
            let fields = AuthorityFields { name_constraints: plan.name_constraints, ..fields };
            Some(fields.sign(certificate, root.own_key().ok_or(RotatorError::NoRoot)?.as_ref())?)
        }
    };
    // The step puts it where it belongs.
    let (state, published, key) = (AuthorityState::Prepared, None, KeyOf::Us(Arc::new(key)));
    let (since, above) = (now, Vec::new());
    Ok(Some(Authority {
        kind,
        generation,
        state,
        since,
        published,
        issuer,
        key,
        certificate,
        above,
        not_before,
        not_after,
    }))
}

/// An intermediate to be certified by an authority above ours.
pub(super) fn wanted(
    keyring: &Keyring,
    plan: &KeyPlan,
    (now, random): (OffsetDateTime, &Random),
) -> Result<Wanted, RotatorError> {
    let now = super::draft::whole_seconds(now);
    let key = Arc::new(KeyPair::generate(AuthorityKind::X509Intermediate.key_algorithm())?);
    let fields = fields(keyring, &key, (0, "intermediate"), (now - BACKDATE, now + plan.intermediate), random);
    Ok(Wanted { fields: AuthorityFields { name_constraints: plan.name_constraints, ..fields }, key })
}

fn fields(
    keyring: &Keyring,
    key: &KeyPair,
    (path_length, role): (u8, &str),
    (not_before, not_after): (OffsetDateTime, OffsetDateTime),
    random: &Random,
) -> AuthorityFields {
    let id: KeyId = key.public().id();
    AuthorityFields {
        trust_domain: keyring.trust_domain.clone(),
        common_name: format!("Lanyard {role} {}", id.to_string().chars().take(8).collect::<String>()),
        key: key.public().clone(),
        serial: Serial::random(random),
        path_length,
        name_constraints: false,
        not_before,
        not_after,
    }
}
