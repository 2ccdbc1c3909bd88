//! What a checkpoint says (C2SP tlog-checkpoint): whose log, how many records, and the root of the tree over them.

use super::Position;
use super::tree::Tree;
use crate::crypto::Digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::fmt;

/// The text of a checkpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TreeHead {
    /// Names the log.
    pub(super) origin: String,
    /// How many records.
    pub(super) size: Position,
    /// The root of their tree.
    pub(super) root: Digest,
    /// Lines of the log's own.
    pub(super) extensions: Vec<String>,
}

impl TreeHead {
    /// Of a tree as it stands.
    pub(super) fn of(origin: &str, tree: &Tree) -> Self {
        Self { origin: origin.to_owned(), size: tree.size(), root: tree.root(), extensions: Vec::new() }
    }

    /// Reads a note's text; none for whatever is not in the form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?.to_owned(), lines.next()?, lines.next()?);
        let root = Digest::from_bytes(STANDARD.decode(root).ok()?.try_into().ok()?);
        let extensions = lines.map(str::to_owned).collect();
        let head = Self { origin, size: size.parse().ok()?, root, extensions };
        // One text for one meaning: no leading zeros, no empty lines.
        (head.to_string() == text && !text.starts_with('\n') && !text.contains("\n\n")).then_some(head)
    }
}

impl fmt::Display for TreeHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_its_own_text() {
        let mut tree = Tree::EMPTY;
        tree.push(&Digest::of(b"a"));
        let mut head = TreeHead::of("example.org/log", &tree);
        for _more in 0..2 {
            assert_eq!(TreeHead::parse(&head.to_string()).as_ref(), Some(&head));
            head.extensions.push("more of it".to_owned());
        }
        let text = head.to_string();
        for odd in [text.replace("\n1\n", "\n01\n"), text.replace("more", "\nmore"), text.trim_end().to_owned()] {
            assert_eq!(TreeHead::parse(&odd), None, "{odd:?}");
        }
    }
}
