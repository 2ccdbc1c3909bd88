//! A policy's file in pieces, a rule each, so that the tree of one rule is held at a time: that of ten thousand takes
//! twenty times their text, and to make it twice as much again.
//!
//! **Invariant**: the pieces say what the file as a whole says, because each is TOML by itself and has one rule or one refusal
//! and nothing else. Where that is not so, and where anything is wrong with a file, it is read as a whole.

use super::reader::Reader;
use super::section::Section;
use toml::de::DeTable;

/// The lists that a piece is of.
const LISTS: [&str; 2] = ["refuse", "rule"];

/// The pieces of a file; none where it is read as a whole.
#[derive(Debug)]
pub(super) struct Pieces<'t>(Vec<Piece<'t>>);

#[derive(Debug)]
struct Piece<'t> {
    /// One of [`LISTS`].
    list: &'static str,
    /// Where it begins in the file.
    begins: usize,
    text: &'t str,
}

impl<'t> Pieces<'t> {
    /// What stands before the first piece, and the pieces.
    pub(super) fn of(text: &'t str) -> (&'t str, Self) {
        let mut begins: Vec<(usize, &str)> = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            begins.extend(list_begun_by(line).map(|list| (at, list)));
            at += line.len();
        }
        let ends = begins.iter().skip(1).map(|(at, _)| *at).chain([text.len()]);
        let piece = |(&(begins, list), end)| Some(Piece { list, begins, text: text.get(begins..end)? });
        let pieces: Vec<_> = begins.iter().zip(ends).filter_map(piece).collect();
        let head = pieces.first().and_then(|first| text.get(..first.begins)).unwrap_or(text);
        if is_apart(head) && pieces.iter().all(Piece::is_apart) {
            return (head, Self(pieces));
        }
        (text, Self(Vec::new()))
    }

    /// The tables of one of the lists that stand in pieces, in order.
    pub(super) fn sections<'r>(
        &self,
        list: &'static str,
        reader: &'r Reader<'t>,
    ) -> impl Iterator<Item = Section<'r, 't>> {
        let pieces = self.0.iter().filter(move |piece| piece.list == list).enumerate();
        pieces.flat_map(move |(before, piece)| {
            Section::root(reader, piece.begins, piece.table()).sections_from(before, list)
        })
    }
}

impl<'t> Piece<'t> {
    fn table(&self) -> DeTable<'t> {
        DeTable::parse_recoverable(self.text).0.into_inner()
    }

    /// Whether it says by itself what it says behind the others.
    fn is_apart(&self) -> bool {
        let Ok(table) = DeTable::parse(self.text) else { return false };
        let list = table.get_ref().get(self.list).and_then(|list| list.get_ref().as_array());
        table.get_ref().len() == 1 && list.is_some_and(|list| list.len() == 1)
    }
}

/// Whether the pieces behind it are all that their lists have.
fn is_apart(head: &str) -> bool {
    DeTable::parse(head).is_ok_and(|table| LISTS.iter().all(|list| !table.get_ref().contains_key(*list)))
}

fn list_begun_by(line: &str) -> Option<&'static str> {
    let (name, _comment) = line.trim_start().strip_prefix("[[")?.split_once("]]")?;
    LISTS.into_iter().find(|list| *list == name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn rule(name: &str) -> String {
        format!("[[rule]]\nname = \"{name}\"\n[rule.when]\nissuer = \"corp\"\n")
    }

    /// Where the tables of both lists begin, how problems call them and what name they have.
    fn tables(text: &str, in_pieces: bool) -> Vec<(Option<usize>, String, Option<String>)> {
        let reader = Reader::new(Path::new("policy.toml"), text);
        let (head, pieces) = if in_pieces { Pieces::of(text) } else { (text, Pieces(Vec::new())) };
        let mut root = reader.beginning(head);
        let all = LISTS.iter().flat_map(|list| root.sections(list).into_iter().chain(pieces.sections(list, &reader)));
        let told = |mut one: Section<'_, '_>| (one.line_of("name"), one.key_path("name"), one.text("name", "a name"));
        all.map(told).collect()
    }

    #[test]
    fn a_file_is_read_in_pieces_where_each_rule_stands_apart_and_says_the_same() {
        let (a, b) = (rule("a"), rule("b"));
        for (text, count) in [
            (format!("owner = \"x\"\n[lists]\nl = [1]\n{a}\t[[ refuse ]] # no\r\nname = \"c\"\n{b}"), 3),
            (format!("{a}{b}[[rule.svid]]\nid = \"/b\"\n[[rule.svid]]\nid = \"/c\""), 2),
            (format!("{a}{b}[lists]\nl = [1]\n"), 0),
            (format!("{a}say = \"\"\"\n{b}\"\"\"\n"), 0),
            (format!("rule = []\n{a}{b}"), 0),
            (format!("[[refuse]]\nname = \"c\"\n{a}[refuse.when]\nissuer = \"corp\"\n"), 0),
            (format!("{a}[[\"rule\"]]\nname = \"b\"\n"), 0),
            (format!("{a}name = = 1\n{b}"), 0),
            (String::new(), 0),
        ] {
            assert_eq!(Pieces::of(&text).1.0.len(), count, "{text}");
            assert_eq!(tables(&text, true), tables(&text, false), "{text}");
        }
    }
}
