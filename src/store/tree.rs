//! The Merkle tree over a journal's records (RFC 6962 §2.1), as the few hashes that it takes to go on from its end.
//!
//! A leaf is a record's digest. Kept are the roots of the perfect subtrees from left to right: one for each bit that is
//! set in the size, so that a million records are twenty hashes at most.

use super::Position;
use crate::crypto::Digest;

/// What stands before a leaf and before a node's two children, so that neither passes for the other.
const LEAF: &[u8] = &[0];
const NODE: &[u8] = &[1];

/// The tree over the first so many records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Tree {
    size: Position,
    subtrees: Vec<Digest>,
}

impl Tree {
    /// Over no record.
    pub(super) const EMPTY: Self = Self { size: 0, subtrees: Vec::new() };

    /// A tree that was kept; none when it is not of that size.
    pub(super) fn of(size: Position, subtrees: Vec<Digest>) -> Option<Self> {
        (u32::try_from(subtrees.len()) == Ok(size.count_ones())).then_some(Self { size, subtrees })
    }

    /// How many records.
    pub(super) const fn size(&self) -> Position {
        self.size
    }

    /// What to keep of it, to go on later.
    pub(super) fn subtrees(&self) -> &[Digest] {
        &self.subtrees
    }

    /// Takes in the next record.
    pub(super) fn push(&mut self, record: &Digest) {
        let mut node = Digest::of_joined(&[LEAF, record.as_bytes()]);
        for _full in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                node = parent(&left, &node);
            }
        }
        self.subtrees.push(node);
        self.size = self.size.saturating_add(1);
    }

    /// The hash that stands for all of it.
    pub(super) fn root(&self) -> Digest {
        let right = |right, left: &Digest| parent(left, &right);
        match self.subtrees.split_last() {
            Some((last, before)) => before.iter().rev().fold(*last, right),
            None => Digest::of(&[]),
        }
    }
}

fn parent(left: &Digest, right: &Digest) -> Digest {
    Digest::of_joined(&[NODE, left.as_bytes(), right.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: u8) -> Vec<Digest> {
        (0..count).map(|n| Digest::of(&[n])).collect()
    }

    /// The definition, word for word: split at the largest power of two below the size.
    fn defined(records: &[Digest]) -> Digest {
        match records {
            [] => Digest::of(&[]),
            [one] => Digest::of_joined(&[LEAF, one.as_bytes()]),
            more => {
                let half = more.len().next_power_of_two() / 2;
                parent(&defined(&more[..half]), &defined(&more[half..]))
            }
        }
    }

    #[test]
    fn every_size_has_the_root_of_the_definition_and_goes_on_from_what_is_kept() {
        let (all, mut tree) = (records(70), Tree::EMPTY);
        for (size, record) in all.iter().enumerate() {
            assert_eq!(tree.root(), defined(&all[..size]));
            tree = Tree::of(tree.size(), tree.subtrees().to_vec()).unwrap();
            tree.push(record);
        }
        assert_eq!((tree.size(), tree.root()), (70, defined(&all)));
    }

    /// Made by hand, with another program.
    #[test]
    fn a_tree_of_three_is_that_of_the_standard() {
        let mut tree = Tree::EMPTY;
        for record in records(3) {
            tree.push(&record);
        }
        assert_eq!(tree.root().to_string(), "d1f13800048f5909d4043fc0c152f6643280cba608b672715e56ce159a20629f");
    }

    #[test]
    fn hashes_that_are_not_of_a_size_make_no_tree() {
        assert!(Tree::of(3, records(2)).is_some());
        assert!(Tree::of(4, records(2)).is_none());
        assert!(Tree::of(0, records(1)).is_none());
    }
}
