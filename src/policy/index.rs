//! Which rules can be for some claims at all, found without a look at the others.
//!
//! **Invariants**: whatever is left out has a term that cannot hold for these claims, and what is found comes in the file's
//! order. So whoever looks at these alone decides as if it had looked at all.

use super::{Condition, Terms, Test};
use crate::token::{ClaimView, Claims};
use std::collections::HashMap;

/// The claims that tell one project's jobs from another's, the most telling first.
const CLAIMS: [&str; 4] = ["project_id", "project_path", "namespace_id", "namespace_path"];
/// A rule for more projects than this is looked at for every job of its issuer: else a long list that many rules share
/// would fill the memory.
const KEYS_MAX: usize = 1024;
/// GitLab nests groups twenty deep; a path's first folders narrow well enough.
const FOLDERS_MAX: usize = 8;

/// Where rules stand in the file, by what they ask of a job's issuer and project.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_issuer: HashMap<String, Shelf>,
    of_any_issuer: Shelf,
}

#[derive(Clone, Debug, Default)]
struct Shelf {
    /// Of rules that no key narrows down.
    anywhere: Vec<usize>,
    /// As [`CLAIMS`].
    claims: [ByValue; CLAIMS.len()],
}

#[derive(Clone, Debug, Default)]
struct ByValue {
    ids: HashMap<u64, Vec<usize>>,
    texts: HashMap<String, Vec<usize>>,
    folders: HashMap<String, Vec<usize>>,
}

/// Something that claims must say for a rule to match.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    /// Its place in [`CLAIMS`].
    claim: usize,
    value: Value,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Value {
    Id(u64),
    Text(String),
    /// A text that goes on with a slash behind this.
    Folder(String),
}

impl Index {
    /// Of rules given as their issuer (none for any) and the terms that all must hold.
    pub(super) fn of<'r>(rules: impl Iterator<Item = (Option<&'r str>, &'r Terms)>) -> Self {
        let mut index = Self::default();
        for (at, (issuer, when)) in rules.enumerate() {
            let shelf = match issuer {
                Some(issuer) => index.by_issuer.entry(issuer.to_owned()).or_default(),
                None => &mut index.of_any_issuer,
            };
            match narrowest(when.iter()) {
                Some(keys) => keys.into_iter().for_each(|key| shelf.put(key, at)),
                None => shelf.anywhere.push(at),
            }
        }
        index
    }

    /// The places of all rules that can be for these claims, in order.
    pub(super) fn places(&self, claims: &Claims) -> Places<'_> {
        let mut lists = Vec::new();
        for shelf in self.by_issuer.get(&*claims.issuer.0).into_iter().chain([&self.of_any_issuer]) {
            lists.push(&*shelf.anywhere);
            for (name, by_value) in CLAIMS.iter().zip(&shelf.claims) {
                by_value.find(claims.view(name), &mut lists);
            }
        }
        lists.retain(|list| !list.is_empty());
        Places(lists)
    }
}

/// The issuer that these terms demand, if it is one.
pub(super) fn issuer_of(when: &Terms) -> Option<&str> {
    when.iter().find_map(|term| match term {
        Condition::Claim { name, test: Test::Text(issuer), .. } if name == "issuer" => Some(issuer.as_str()),
        Condition::All(_) | Condition::Any(_) | Condition::Claim { .. } | Condition::Not(_) => None,
    })
}

impl Shelf {
    fn put(&mut self, Key { claim, value }: Key, at: usize) {
        let Some(by_value) = self.claims.get_mut(claim) else { return };
        let list = match value {
            Value::Id(id) => by_value.ids.entry(id).or_default(),
            Value::Text(text) => by_value.texts.entry(text).or_default(),
            Value::Folder(folder) => by_value.folders.entry(folder).or_default(),
        };
        list.push(at);
    }
}

impl ByValue {
    fn find<'i>(&'i self, value: Option<ClaimView<'_>>, lists: &mut Vec<&'i [usize]>) {
        let found = match value {
            Some(ClaimView::Id(id)) => self.ids.get(&id),
            Some(ClaimView::Text(text)) => {
                let folders = folders(text).filter_map(|folder| self.folders.get(folder));
                lists.extend(folders.map(Vec::as_slice));
                self.texts.get(text)
            }
            // None of these claims is anything else.
            Some(ClaimView::Bool(_) | ClaimView::Identities(_) | ClaimView::Texts(_)) | None => None,
        };
        lists.extend(found.map(Vec::as_slice));
    }
}

/// Several ordered lists as one, without repeats.
#[derive(Clone, Debug)]
pub(super) struct Places<'i>(Vec<&'i [usize]>);

impl Iterator for Places<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let next = self.0.iter().filter_map(|list| list.first()).min().copied()?;
        for list in &mut self.0 {
            if let Some((first, rest)) = list.split_first()
                && *first == next
            {
                *list = rest;
            }
        }
        Some(next)
    }
}

/// Of terms that all must hold, the one that leaves the fewest jobs; none where none tells whose.
fn narrowest<'t, T: Iterator<Item = &'t Condition>>(terms: T) -> Option<Vec<Key>> {
    terms.filter_map(keys_of).min_by_key(|keys| (keys.iter().map(Key::breadth).max(), keys.len()))
}

/// Keys of which at least one fits any claims for which the condition holds.
fn keys_of(condition: &Condition) -> Option<Vec<Key>> {
    let mut keys = match condition {
        Condition::All(all) => narrowest(all.iter())?,
        Condition::Any(some) => some.iter().map(keys_of).collect::<Option<Vec<_>>>()?.concat(),
        Condition::Claim { name, test, .. } => {
            let claim = CLAIMS.iter().position(|known| known == name)?;
            values_of(test)?.into_iter().map(|value| Key { claim, value }).collect()
        }
        Condition::Not(_) => return None,
    };
    keys.sort_unstable();
    keys.dedup();
    (keys.len() <= KEYS_MAX).then_some(keys)
}

fn values_of(test: &Test) -> Option<Vec<Value>> {
    match test {
        Test::Bool(_) => None,
        Test::Glob(glob) => deepest_folder(glob.literal_prefix()),
        Test::Id(id) => Some(vec![Value::Id(*id)]),
        Test::OneOf { tests, .. } if tests.len() > KEYS_MAX => None,
        Test::OneOf { tests, .. } => Some(tests.iter().map(values_of).collect::<Option<Vec<_>>>()?.concat()),
        Test::Prefix(prefix) => deepest_folder(prefix),
        Test::Text(exactly) => Some(vec![Value::Text(exactly.clone())]),
    }
}

fn deepest_folder(prefix: &str) -> Option<Vec<Value>> {
    folders(prefix).last().map(|folder| vec![Value::Folder(folder.to_owned())])
}

/// The folders that a path lies in, the outermost first.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _slash)| path.get(..at)).take(FOLDERS_MAX)
}

impl Key {
    /// How many jobs it may fit, roughly: a project's, a namespace's, a folder's.
    const fn breadth(&self) -> usize {
        match self.value {
            Value::Id(_) | Value::Text(_) => self.claim,
            Value::Folder(_) => CLAIMS.len() + self.claim,
        }
    }
}
