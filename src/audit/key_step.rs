//! What an entry says of our signing keys, and of who holds them.

use crate::crypto::KeyId;
use serde::Serialize;

/// A step that a key takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct KeyStep<'a> {
    /// What is done.
    pub step: &'a str,
    /// Which kind of key.
    pub authority: &'a str,
    /// The key.
    pub key_id: KeyId,
    /// Counts the keys of a kind.
    pub generation: u64,
    /// The keyring's sequence after the step.
    pub sequence: u64,
    /// The intermediate that was made with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intermediate: Option<KeyId>,
    /// The operator's user id, where it was ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<&'a str>,
    /// What it was done in spite of: holders without proof, a time that had not passed.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub in_spite_of: &'a [String],
}

/// An operator has a key deleted where it lives, which no authority names.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OrphanWord<'a> {
    /// The place's configured name.
    pub place: &'a str,
    /// What the key is called there.
    pub label: &'a str,
    /// The operator's user id.
    pub uid: u32,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<&'a str>,
}

/// An operator's word that a declared holder has our bundle.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HolderWord<'a> {
    /// The configured name.
    pub holder: &'a str,
    /// Of the bundle that it has.
    pub sequence: u64,
    /// The operator's user id.
    pub uid: u32,
    /// How it is known, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<&'a str>,
}
