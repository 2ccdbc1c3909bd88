//! The transit engine of the scripted Vault: keys that sign or encrypt, and what Vault says when they do not.

use super::{Engine, data, done, error};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A key, with all its versions.
struct Key {
    /// What the read tells, but the versions.
    told: Map<String, Value>,
    versions: Vec<Version>,
}

/// What signs, or what encrypts.
enum Version {
    Signs(EcdsaKeyPair),
    Encrypts(RandomizedNonceKey),
}

impl Version {
    /// As Vault calls the kinds.
    fn made(kind: &str) -> Option<Self> {
        match kind {
            "ecdsa-p256" => Some(Self::Signs(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())),
            "aes256-gcm96" => {
                let key = lanyard::crypto::Random::system().bytes::<32>();
                Some(Self::Encrypts(RandomizedNonceKey::new(&AES_256_GCM, &key).unwrap()))
            }
            _ => None,
        }
    }

    fn told(&self) -> Value {
        let Self::Signs(key) = self else { return 1_762_075_800.into() };
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let text = STANDARD.encode(spki.as_ref());
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
        json!({ "creation_time": "2026-11-02T09:30:00Z", "name": "P-256", "public_key": pem })
    }
}

/// A transit engine.
#[derive(Default)]
pub(crate) struct Transit(Mutex<BTreeMap<String, Key>>);

impl Transit {
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    /// Has the read of every key tell something else.
    pub(crate) fn tell_of_all(&self, name: &str, value: &Value) {
        for key in self.0.lock().unwrap().values_mut() {
            key.told.insert(name.to_owned(), value.clone());
        }
    }

    /// As `vault write -f transit/keys/NAME/rotate` does.
    pub(crate) fn rotate_all(&self) {
        for key in self.0.lock().unwrap().values_mut() {
            key.versions.extend(key.told.get("type").and_then(Value::as_str).and_then(Version::made));
        }
    }

    fn make(&self, name: &str, wanted: &Value) -> (u16, Value) {
        let kind = wanted.get("type").and_then(Value::as_str).unwrap_or("aes256-gcm96");
        let Some(version) = Version::made(kind) else { return error(400, &format!("unknown key type {kind}")) };
        let flag = |name: &str| wanted.get(name).and_then(Value::as_bool).unwrap_or(false);
        let told = json!({
            "name": name, "type": kind, "exportable": flag("exportable"),
            "allow_plaintext_backup": flag("allow_plaintext_backup"), "deletion_allowed": false, "derived": false,
            "imported_key": false, "min_available_version": 0, "min_decryption_version": 1, "supports_signing": true,
        });
        let told = told.as_object().unwrap().clone();
        // A key that is there stays as it is.
        self.0.lock().unwrap().entry(name.to_owned()).or_insert_with(|| Key { told, versions: vec![version] });
        done()
    }

    fn read(&self, name: &str) -> (u16, Value) {
        let keys = self.0.lock().unwrap();
        let Some(key) = keys.get(name) else { return error(404, "") };
        let mut told = key.told.clone();
        let versions: Map<_, _> =
            (1..).zip(&key.versions).map(|(at, key): (u32, _)| (at.to_string(), key.told())).collect();
        drop(keys);
        told.insert("latest_version".to_owned(), versions.len().into());
        told.insert("keys".to_owned(), versions.into());
        data(&told.into())
    }

    fn sign(&self, name: &str, asked: &Value) -> (u16, Value) {
        let keys = self.0.lock().unwrap();
        let Some(key) = keys.get(name) else { return error(400, "signing key not found") };
        let text = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("marshaling_algorithm") != "asn1" || asked.get("prehashed") != Some(&Value::Bool(true)) {
            return error(400, "this test takes digests, and gives ASN.1");
        }
        let version =
            asked.get("key_version").and_then(Value::as_u64).and_then(|version| usize::try_from(version).ok());
        let version = version.filter(|version| *version > 0).unwrap_or(key.versions.len());
        let Some(Version::Signs(of_version)) = key.versions.get(version - 1) else {
            return error(400, "invalid key version");
        };
        let Ok(digest) = Digest::import_less_safe(&STANDARD.decode(text("input")).unwrap(), &SHA256) else {
            return error(400, "input of the wrong length for the hash algorithm");
        };
        let signature = of_version.sign_digest(&digest).unwrap();
        drop(keys);
        data(
            &json!({ "signature": format!("vault:v{version}:{}", STANDARD.encode(signature)), "key_version": version }),
        )
    }

    fn encrypt(&self, name: &str, asked: &Value) -> (u16, Value) {
        let keys = self.0.lock().unwrap();
        let Some(key) = keys.get(name) else { return error(400, "encryption key not found") };
        let Some(Version::Encrypts(newest)) = key.versions.last() else {
            return error(400, "message encryption not supported for this key type");
        };
        let Ok(mut text) = STANDARD.decode(asked["plaintext"].as_str().unwrap_or_default()) else {
            return error(400, "failed to base64-decode plaintext");
        };
        let nonce = newest.seal_in_place_append_tag(Aad::empty(), &mut text).unwrap();
        let (version, text) = (key.versions.len(), [nonce.as_ref().as_slice(), &text].concat());
        drop(keys);
        data(&json!({ "ciphertext": format!("vault:v{version}:{}", STANDARD.encode(text)), "key_version": version }))
    }

    fn decrypt(&self, name: &str, asked: &Value) -> (u16, Value) {
        let keys = self.0.lock().unwrap();
        let Some(key) = keys.get(name) else { return error(400, "encryption key not found") };
        let text = asked["ciphertext"].as_str().unwrap_or_default();
        let parts = text.strip_prefix("vault:v").and_then(|text| text.split_once(':'));
        let parts =
            parts.and_then(|(version, text)| Some((version.parse::<usize>().ok()?, STANDARD.decode(text).ok()?)));
        let Some((version, text)) = parts else { return error(400, "invalid ciphertext: no prefix") };
        let Some(Version::Encrypts(key)) = version.checked_sub(1).and_then(|at| key.versions.get(at)) else {
            return error(400, "invalid ciphertext: version is too new");
        };
        let opened = text.split_at_checked(NONCE_LEN).and_then(|(nonce, text)| {
            let (nonce, mut text) = (Nonce::try_assume_unique_for_key(nonce).unwrap(), text.to_vec());
            Some(STANDARD.encode(key.open_in_place(nonce, Aad::empty(), &mut text).ok()?))
        });
        drop(keys);
        opened.map_or_else(
            || error(400, "cipher: message authentication failed"),
            |text| data(&json!({ "plaintext": text })),
        )
    }

    fn delete(&self, name: &str) -> (u16, Value) {
        let mut keys = self.0.lock().unwrap();
        let deletable = keys.get(name).map(|key| key.told.get("deletion_allowed") == Some(&Value::Bool(true)));
        if deletable == Some(true) {
            keys.remove(name);
        }
        drop(keys);
        match deletable {
            None => error(400, "could not delete key; not found"),
            Some(false) => error(400, "error deleting policy: deletion is not allowed for this key"),
            Some(true) => done(),
        }
    }
}

impl Engine for Transit {
    fn answer(&self, verb: &str, path: &str, body: &Value) -> (u16, Value) {
        let parts: Vec<_> = path.split('/').collect();
        match (verb, parts.as_slice()) {
            ("LIST", ["keys"]) if self.names().is_empty() => error(404, ""),
            ("LIST", ["keys"]) => data(&json!({ "keys": self.names() })),
            ("POST", ["keys", name]) => self.make(name, body),
            ("GET", ["keys", name]) => self.read(name),
            ("DELETE", ["keys", name]) => self.delete(name),
            ("POST", ["keys", name, "config"]) => {
                let told = |key: &mut Key| key.told.extend(body.as_object().unwrap().clone());
                let found = self.0.lock().unwrap().get_mut(*name).map(told);
                found.map_or_else(|| error(400, "no existing key named that"), |()| done())
            }
            ("POST", ["decrypt", name]) => self.decrypt(name, body),
            ("POST", ["encrypt", name]) => self.encrypt(name, body),
            ("POST", ["sign", name, "sha2-256"]) => self.sign(name, body),
            _ => error(404, "unsupported path"),
        }
    }
}
