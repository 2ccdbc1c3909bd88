//! What the records so far amount to: where their chain stands, and the tree over all of them.

use super::Record;
use super::checkpoint::Claim;
use super::record::Link;
use super::tree::Tree;

/// A journal up to some record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Chain {
    pub(super) link: Link,
    pub(super) tree: Tree,
}

impl Chain {
    /// Before the first record.
    pub(super) const START: Self = Self { link: Link::START, tree: Tree::EMPTY };

    /// Up to a checkpoint, as its claim tells.
    pub(super) fn up_to(checkpoint: &Record, claim: Claim) -> Self {
        let mut chain = Self { link: Link::START, tree: claim.into_tree() };
        chain.take(checkpoint.link());
        chain
    }

    /// One record more.
    pub(super) fn take(&mut self, link: Link) {
        self.tree.push(&link.digest);
        self.link = link;
    }
}
