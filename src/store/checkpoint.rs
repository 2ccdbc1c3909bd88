//! Checkpoints: the record that ends a segment and vouches, signed, for every record before it and for the state they make.
//!
//! It holds a signed note (C2SP tlog-checkpoint) over the records before it, with one extension line for the state, and
//! the subtrees that it takes to go on with the tree behind it: so a start, and an auditor of what is left after older
//! segments were archived, need nothing before it.

use super::chain::Chain;
use super::note::{Note, NoteSigner};
use super::state::Summary;
use super::tree::Tree;
use super::tree_head::TreeHead;
use super::{Entry, Flaw, Record};
use crate::crypto::{Digest, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::io;

/// How an entry of ours begins; [`Kept`] is written in this order.
const ENTRY_START: &str = r#"{"kind":"checkpoint","#;
/// How the extension line begins that vouches for the state.
const STATE: &str = "lanyard-state";

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    kind: Kind,
    /// Where its own line begins in the segment.
    offset: u64,
    /// Of the tree over the records before it.
    subtrees: Vec<Digest>,
    /// The signed note.
    note: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Checkpoint,
}

/// What a checkpoint record says.
#[derive(Debug)]
pub(super) struct Claim {
    offset: u64,
    tree: Tree,
    state: Summary,
    note: Note,
}

/// Whether an entry is a checkpoint's.
pub(super) fn is_one(entry: &RawValue) -> bool {
    entry.get().starts_with(ENTRY_START)
}

/// The entry that vouches for all that a chain holds and for the state it makes; its line begins at `offset`.
pub(super) fn sign(chain: &Chain, state: Summary, offset: u64, signer: &NoteSigner) -> io::Result<Entry> {
    let Summary { digest, keys } = state;
    let mut head = TreeHead::of(signer.verifier().name(), &chain.tree);
    head.extensions.push(format!("{STATE} {keys} {digest}"));
    let note = signer.sign(&head.to_string()).map_err(io::Error::other)?;
    let subtrees = chain.tree.subtrees().to_vec();
    Ok(to_raw_value(&Kept { kind: Kind::Checkpoint, offset, subtrees, note })?)
}

impl Claim {
    /// Reads a record that ends a segment.
    ///
    /// # Errors
    /// `NotARecord` when it is in no form of ours, `TreeDiffers` when note, subtrees and position do not fit together.
    pub(super) fn of(record: &Record) -> Result<Self, Flaw> {
        let Kept { offset, subtrees, note, .. } =
            serde_json::from_str(record.entry.get()).map_err(|_wrong_form| Flaw::NotARecord)?;
        let note = Note::parse(&note).ok_or(Flaw::NotARecord)?;
        let head = TreeHead::parse(note.text()).ok_or(Flaw::NotARecord)?;
        let state = head.extensions.iter().find_map(|line| state(line)).ok_or(Flaw::NotARecord)?;
        let tree = Tree::of(record.position.saturating_sub(1), subtrees).ok_or(Flaw::TreeDiffers)?;
        if (head.size, head.root) != (tree.size(), tree.root()) {
            return Err(Flaw::TreeDiffers);
        }
        Ok(Self { offset, tree, state, note })
    }

    /// Whether this key signed it.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.note.is_signed_by(key)
    }

    /// Whether it may be the one that begins so far into its segment.
    pub(super) const fn stands_at(&self, offset: u64) -> bool {
        self.offset == offset
    }

    /// Whether it vouches for this state.
    pub(super) fn is_of(&self, state: Summary) -> bool {
        state == self.state
    }

    /// The tree over the records before it.
    pub(super) fn into_tree(self) -> Tree {
        self.tree
    }
}

fn state(line: &str) -> Option<Summary> {
    let (keys, digest) = line.strip_prefix(STATE)?.strip_prefix(' ')?.split_once(' ')?;
    Some(Summary { digest: digest.parse().ok()?, keys: keys.parse().ok()? })
}
