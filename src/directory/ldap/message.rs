//! The messages that we send, and those that we can read.

use super::Filter;
use super::ber::{
    BOOLEAN, ENUMERATED, Elements, INTEGER, Malformed, OCTET_STRING, SEQUENCE, SET, element, number, read_number,
};
use super::error::ResultCode;
use std::collections::BTreeMap;

/// RFC 4511 §4.14.1.
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
/// How long a server shall work on a search, in seconds; we do not wait longer either.
const SEARCH_SECONDS: u32 = 3;

/// Where a search looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Scope {
    /// At the base alone.
    Base,
    /// At the base and all that is below it.
    Subtree,
}

/// A search.
#[derive(Clone, Debug)]
pub(in super::super) struct Search<'a> {
    /// The DN to begin at.
    pub(in super::super) base: &'a str,
    /// Where to look.
    pub(in super::super) scope: Scope,
    /// For what.
    pub(in super::super) filter: Filter<'a>,
    /// What to tell of it.
    pub(in super::super) attributes: &'a [&'a str],
    /// More entries are no answer.
    pub(in super::super) most: usize,
}

/// What a search found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in super::super) struct Entry {
    /// Its DN.
    pub(in super::super) dn: String,
    /// Values by attribute, in lower case; as bytes, which some of them are.
    pub(in super::super) attributes: BTreeMap<String, Vec<Vec<u8>>>,
}

/// What we say.
pub(super) enum Request<'a> {
    Bind { name: &'a str, password: &'a [u8] },
    Search(&'a Search<'a>),
    StartTls,
}

/// What a server says.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// Something that was found.
    Entry(Entry),
    /// Where else to look; nobody goes there.
    Elsewhere,
    /// All is said; none where it went well.
    Done(Option<ResultCode>),
}

impl Request<'_> {
    pub(super) fn encode(&self, id: u32) -> Vec<u8> {
        let operation = match self {
            Self::Bind { name, password } => {
                let name = element(OCTET_STRING, &[name.as_bytes()]);
                element(0x60, &[&number(INTEGER, 3), &name, &element(0x80, &[password])])
            }
            Self::Search(search) => search.encode(),
            Self::StartTls => element(0x77, &[&element(0x80, &[START_TLS])]),
        };
        element(SEQUENCE, &[&number(INTEGER, id), &operation])
    }
}

impl Search<'_> {
    fn encode(&self) -> Vec<u8> {
        let scope = match self.scope {
            Scope::Base => 0,
            Scope::Subtree => 2,
        };
        let never_aliases = number(ENUMERATED, 0);
        // One more than is taken tells that there are too many; some servers send all of them whatever is wished.
        let most = number(INTEGER, u32::try_from(self.most).unwrap_or(u32::MAX).saturating_add(1));
        let attributes: Vec<u8> =
            self.attributes.iter().flat_map(|name| element(OCTET_STRING, &[name.as_bytes()])).collect();
        element(
            0x63,
            &[
                &element(OCTET_STRING, &[self.base.as_bytes()]),
                &number(ENUMERATED, scope),
                &never_aliases,
                &most,
                &number(INTEGER, SEARCH_SECONDS),
                &element(BOOLEAN, &[&[0]]),
                &self.filter.encode(),
                &element(SEQUENCE, &[&attributes]),
            ],
        )
    }
}

impl Answer {
    /// Reads one whole message: which request it answers, and how.
    pub(super) fn read(bytes: &[u8]) -> Result<(u32, Self), Malformed> {
        let mut message = Elements(Elements(bytes).take(SEQUENCE)?);
        let id = read_number(message.take(INTEGER)?)?;
        // What stands behind it are controls, and we have asked for none.
        let (tag, operation) = message.next()?.ok_or(Malformed)?;
        let answer = match tag {
            0x64 => Self::Entry(Entry::read(Elements(operation))?),
            0x73 => Self::Elsewhere,
            // To a bind, to a search, to StartTLS.
            0x61 | 0x65 | 0x78 => Self::Done(read_result(Elements(operation))?),
            _ => return Err(Malformed),
        };
        Ok((id, answer))
    }
}

impl Entry {
    fn read(mut entry: Elements<'_>) -> Result<Self, Malformed> {
        let dn = text(entry.take(OCTET_STRING)?)?;
        let mut list = Elements(entry.take(SEQUENCE)?);
        let mut attributes = BTreeMap::new();
        while let Some((SEQUENCE, attribute)) = list.next()? {
            let mut attribute = Elements(attribute);
            let name = text(attribute.take(OCTET_STRING)?)?.to_ascii_lowercase();
            let mut set = Elements(attribute.take(SET)?);
            let mut values = Vec::new();
            while let Some((OCTET_STRING, value)) = set.next()? {
                values.push(value.to_vec());
            }
            attributes.insert(name, values);
        }
        Ok(Self { dn, attributes })
    }

    /// All values of an attribute; none where it is not told. One that is cut into ranges counts as not told.
    pub(in super::super) fn values(&self, name: &str) -> Option<&[Vec<u8>]> {
        let values = self.attributes.get(&name.to_ascii_lowercase()).filter(|values| !values.is_empty());
        values.map(Vec::as_slice)
    }

    /// The one value of an attribute; none where there are more.
    pub(in super::super) fn value(&self, name: &str) -> Option<&[u8]> {
        match self.values(name) {
            Some([one]) => Some(one),
            _ => None,
        }
    }
}

fn read_result(mut result: Elements<'_>) -> Result<Option<ResultCode>, Malformed> {
    let code = read_number(result.take(ENUMERATED)?)?;
    let (_matched, diagnostic) = (result.take(OCTET_STRING)?, result.take(OCTET_STRING)?);
    Ok((code != 0).then(|| ResultCode::read(code, diagnostic)))
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_binary| Malformed)
}
