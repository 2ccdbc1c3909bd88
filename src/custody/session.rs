//! A session with a token: how it is let in, and the keys that it sees.

use super::token::Token;
use super::{Label, PlaceFault};
use crate::crypto::{Digest, PublicKey, read_secret_file};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use std::collections::BTreeMap;

/// The name of P-256, as key generation wants it (RFC 5480 §2.1.1.1: secp256r1).
const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// Lets a session in, by the PIN that is in the file now. A PIN that was wrong is not tried twice.
pub(super) fn log_in(
    session: &Session,
    token: &Token,
    refused: &mut BTreeMap<String, Digest>,
) -> Result<(), PlaceFault> {
    let bytes = read_secret_file(&token.pin_file).map_err(PlaceFault::PinFile)?;
    let wrong = || PlaceFault::Pin { file: token.pin_file.clone(), token: token.label.clone() };
    let pin = std::str::from_utf8(&bytes).map_err(|_not_text| wrong())?.trim_end_matches(['\r', '\n']);
    let digest = Digest::of(pin.as_bytes());
    if refused.get(&token.label) == Some(&digest) {
        return Err(wrong());
    }
    match session.login(UserType::User, Some(&AuthPin::new(pin.into()))) {
        // The login is the process's: a session from before may have it still.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            refused.remove(&token.label);
            Ok(())
        }
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
            refused.insert(token.label.clone(), digest);
            Err(wrong())
        }
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(PlaceFault::PinLocked { token: token.label.clone() }),
        Err(source) => Err(token.odd()(source)),
    }
}

/// The objects that a session sees.
pub(super) struct Objects<'a> {
    pub(super) session: &'a Session,
    pub(super) token: &'a Token,
}

impl Objects<'_> {
    /// In the token, where it stays.
    pub(super) fn make(&self, label: &Label) -> Result<PublicKey, PlaceFault> {
        let name = label.as_str().as_bytes();
        let both = [
            Attribute::Token(true),
            Attribute::Label(name.to_vec()),
            Attribute::Id(Digest::of(name).as_bytes().to_vec()),
        ];
        let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(P256.to_vec())];
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let with = |own: &[Attribute]| [both.as_slice(), own].concat();
        let made = self.session.generate_key_pair(&Mechanism::EccKeyPairGen, &with(&public), &with(&private));
        made.map_err(self.token.odd())?;
        self.find(label)?.ok_or_else(|| PlaceFault::NotThere { label: label.clone() })
    }

    pub(super) fn find(&self, label: &Label) -> Result<Option<PublicKey>, PlaceFault> {
        let Some(private) = self.private(label)? else { return Ok(None) };
        self.check_stays(label, private, (KeyType::EC, "an ECDSA key on P-256"))?;
        let public = self.one(label, ObjectClass::PUBLIC_KEY)?.ok_or_else(|| no_ec_key(label))?;
        let point = self
            .attributes(public, &[AttributeType::EcPoint])?
            .into_iter()
            .find_map(|attribute| if let Attribute::EcPoint(point) = attribute { Some(point) } else { None });
        let odd = |source| PlaceFault::Crypto { label: label.clone(), source };
        PublicKey::from_p256_point(&point.ok_or_else(|| no_ec_key(label))?).map(Some).map_err(odd)
    }

    /// The handle of a private key.
    pub(super) fn private(&self, label: &Label) -> Result<Option<ObjectHandle>, PlaceFault> {
        self.one(label, ObjectClass::PRIVATE_KEY)
    }

    /// Of all private keys, whosever.
    pub(super) fn labels(&self) -> Result<Vec<String>, PlaceFault> {
        let all = self.session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]);
        let mut labels = Vec::new();
        for key in all.map_err(self.token.odd())? {
            labels.extend(self.attributes(key, &[AttributeType::Label])?.into_iter().filter_map(text));
        }
        Ok(labels)
    }

    /// Both halves, the private one first: what is left after a crash shows that there is something left.
    pub(super) fn delete(&self, label: &Label) -> Result<(), PlaceFault> {
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            for object in self.all(label, class)? {
                self.session.destroy_object(object).map_err(self.token.odd())?;
            }
        }
        Ok(())
    }

    /// Made in the token, and the token gives it to nobody.
    pub(super) fn check_stays(
        &self,
        label: &Label,
        key: ObjectHandle,
        (kind, wanted_kind): (KeyType, &'static str),
    ) -> Result<(), PlaceFault> {
        let wanted =
            [AttributeType::KeyType, AttributeType::Sensitive, AttributeType::Extractable, AttributeType::Local];
        let told = self.attributes(key, &wanted)?;
        if !told.contains(&Attribute::KeyType(kind)) {
            let (label, found) = (label.clone(), "of another kind".to_owned());
            return Err(PlaceFault::Kind { label, found, wanted: wanted_kind });
        }
        for (right, how) in [
            (Attribute::Sensitive(true), "it is not CKA_SENSITIVE"),
            (Attribute::Extractable(false), "it is CKA_EXTRACTABLE"),
            (Attribute::Local(true), "it was imported"),
        ] {
            if !told.contains(&right) {
                return Err(PlaceFault::Exposed { label: label.clone(), how });
            }
        }
        Ok(())
    }

    pub(super) fn one(&self, label: &Label, class: ObjectClass) -> Result<Option<ObjectHandle>, PlaceFault> {
        match self.all(label, class)?.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            more => Err(PlaceFault::Twins { label: label.clone(), many: more.len() }),
        }
    }

    fn all(&self, label: &Label, class: ObjectClass) -> Result<Vec<ObjectHandle>, PlaceFault> {
        let named = [Attribute::Class(class), Attribute::Label(label.as_str().as_bytes().to_vec())];
        self.session.find_objects(&named).map_err(self.token.odd())
    }

    fn attributes(&self, object: ObjectHandle, wanted: &[AttributeType]) -> Result<Vec<Attribute>, PlaceFault> {
        self.session.get_attributes(object, wanted).map_err(self.token.odd())
    }
}

fn text(attribute: Attribute) -> Option<String> {
    if let Attribute::Label(label) = attribute { Some(String::from_utf8_lossy(&label).into_owned()) } else { None }
}

fn no_ec_key(label: &Label) -> PlaceFault {
    let found = "a key without its public half".to_owned();
    PlaceFault::Kind { label: label.clone(), found, wanted: "an ECDSA key on P-256" }
}
