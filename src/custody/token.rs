//! What is asked of a token, on the one thread that may: sessions are opened when needed, and anew when they were lost.

use super::session::{Objects, log_in};
use super::{Label, PlaceFault};
use crate::crypto::{CryptoError, Digest, PublicKey, asn1_of};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use std::collections::BTreeMap;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Which token, and what lets us in.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) label: String,
    pub(super) pin_file: PathBuf,
}

impl Token {
    pub(super) fn odd(&self) -> impl Fn(Error) -> PlaceFault {
        |source| PlaceFault::Token { token: self.label.clone(), source }
    }

    /// Each start would try a wrong PIN once more, so the last try is a person's.
    fn may_try(&self, (is_locked, is_last_try): (bool, bool)) -> Result<(), PlaceFault> {
        let token = self.label.clone();
        match (is_locked, is_last_try) {
            (true, _) => Err(PlaceFault::PinLocked { token }),
            (false, true) => Err(PlaceFault::PinLastTry { token, file: self.pin_file.clone() }),
            (false, false) => Ok(()),
        }
    }
}

/// A module's sessions, by token.
pub(super) struct Sessions {
    module: PathBuf,
    context: Option<Pkcs11>,
    is_begun: bool,
    open: BTreeMap<String, Session>,
    /// PINs that were wrong, by token.
    refused: BTreeMap<String, Digest>,
}

impl Sessions {
    pub(super) const fn with(module: PathBuf) -> Self {
        Self { module, context: None, is_begun: false, open: BTreeMap::new(), refused: BTreeMap::new() }
    }

    pub(super) fn make(&mut self, token: &Token, label: &Label) -> Result<PublicKey, PlaceFault> {
        self.begin_anew();
        self.ask(token, |objects| objects.make(label))
    }

    /// A session from before cannot see that a token was replaced, so it is not asked.
    pub(super) fn find(&mut self, token: &Token, label: &Label) -> Result<Option<PublicKey>, PlaceFault> {
        self.begin_anew();
        self.ask(token, |objects| objects.find(label))
    }

    pub(super) fn list(&mut self, token: &Token) -> Result<Vec<String>, PlaceFault> {
        self.begin_anew();
        self.ask(token, |objects: &Objects<'_>| objects.labels())
    }

    pub(super) fn delete(&mut self, token: &Token, label: &Label) -> Result<(), PlaceFault> {
        self.begin_anew();
        self.ask(token, |objects| objects.delete(label))
    }

    pub(super) fn sign(&mut self, token: &Token, label: &Label, message: &[u8]) -> Result<Vec<u8>, PlaceFault> {
        let digest = Digest::of(message);
        self.ask(token, |objects| {
            let key = objects.private(label)?.ok_or_else(|| PlaceFault::NotThere { label: label.clone() })?;
            let signed = objects.session.sign(&Mechanism::Ecdsa, key, digest.as_bytes()).map_err(token.odd())?;
            let odd = || PlaceFault::Crypto { label: label.clone(), source: CryptoError::Signature };
            asn1_of(&signed).ok_or_else(odd)
        })
    }

    pub(super) fn wrap(&mut self, token: &Token, label: &Label, secret: &[u8]) -> Result<Vec<u8>, PlaceFault> {
        self.begin_anew();
        self.ask(token, |objects| objects.wrap(label, secret))
    }

    pub(super) fn unwrap_key(
        &mut self,
        token: &Token,
        label: &Label,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, PlaceFault> {
        self.begin_anew();
        self.ask(token, |objects| objects.open(label, wrapped))
    }

    /// With a session from before, once more with a new one: whatever went wrong, it may have been lost.
    fn ask<T>(&mut self, token: &Token, work: impl Fn(&Objects<'_>) -> Result<T, PlaceFault>) -> Result<T, PlaceFault> {
        if let Some(session) = self.open.get(&token.label) {
            if let Ok(done) = work(&Objects { session, token }) {
                return Ok(done);
            }
            self.begin_anew();
        }
        let session = match self.open(token) {
            Ok(session) => session,
            Err(fault) => {
                self.begin_anew();
                return Err(fault);
            }
        };
        let done = work(&Objects { session: &session, token });
        // Kept first: beginning anew closes what is open, and then the library.
        drop(self.open.insert(token.label.clone(), session));
        if done.is_err() {
            self.begin_anew();
        }
        done
    }

    /// Forgets what the module has told, sessions first: some see a new token, or their own way back to it, only so.
    fn begin_anew(&mut self) {
        self.open.clear();
        if let Some(context) = self.context.as_ref().filter(|_| self.is_begun) {
            // One that does not end is not begun anew either, which says why.
            drop(context.clone().finalize());
        }
        self.is_begun = false;
    }

    fn open(&mut self, token: &Token) -> Result<Session, PlaceFault> {
        let context = self.context()?.clone();
        let slot = slot_of(&context, token)?;
        let mechanisms = context.get_mechanism_list(slot).map_err(token.odd())?;
        for (needed, mechanism) in
            [(MechanismType::ECC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"), (MechanismType::ECDSA, "CKM_ECDSA")]
        {
            if !mechanisms.contains(&needed) {
                return Err(PlaceFault::Mechanism { token: token.label.clone(), mechanism });
            }
        }
        let info = context.get_token_info(slot).map_err(token.odd())?;
        token.may_try((info.user_pin_locked(), info.user_pin_final_try()))?;
        let session = context.open_rw_session(slot).map_err(token.odd())?;
        log_in(&session, token, &mut self.refused)?;
        Ok(session)
    }

    fn context(&mut self) -> Result<&Pkcs11, PlaceFault> {
        let odd = |source| PlaceFault::Module { module: self.module.clone(), source };
        let context = match self.context.take() {
            Some(context) => context,
            None => Pkcs11::new(&self.module).map_err(odd)?,
        };
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => self.is_begun = true,
            Err(source) => return Err(odd(source)),
        }
        Ok(self.context.insert(context))
    }
}

fn slot_of(context: &Pkcs11, token: &Token) -> Result<Slot, PlaceFault> {
    let mut there = Vec::new();
    for slot in context.get_slots_with_initialized_token().map_err(token.odd())? {
        let info = context.get_token_info(slot).map_err(token.odd())?;
        if info.label() == token.label {
            return Ok(slot);
        }
        there.push(format!("{:?}", info.label()));
    }
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    Err(PlaceFault::TokenMissing { token: token.label.clone(), there })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_try_of_a_pin_is_left_to_a_person() {
        let token = Token { label: "lanyard".to_owned(), pin_file: "/etc/lanyard/pin".into() };
        assert!(token.may_try((false, false)).is_ok());
        let said = token.may_try((false, true)).unwrap_err().to_string();
        assert!(said.contains("\"lanyard\" has one try left") && said.contains("/etc/lanyard/pin"), "{said}");
        for is_last_try in [false, true] {
            assert!(matches!(token.may_try((true, is_last_try)), Err(PlaceFault::PinLocked { .. })));
        }
    }
}
