//! The token's JSON, read in one pass: each known claim by its shape in the table, duplicates refused.

use super::claims::{ClaimValue, ExternalIdentity};
use super::error::TokenError;
use super::forms::{account, digits, is_path, named, spiffe_path};
use super::issuer_kind::{IssuerKind, Mapped, Model};
use super::providers::{GITLAB, LIST_MAX, Shape, TEXT_BYTES_MAX, position};
use crate::telemetry::quotable;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// Every known claim that the payload has, by its place in the table. On the heap: two kilobytes are handed on from step
/// to step.
pub(super) struct Payload {
    pub(super) kind: IssuerKind,
    read: Box<[Option<Read>]>,
}

/// One claim as read.
#[derive(Debug)]
pub(super) enum Read {
    Audience(Audience),
    Kept(ClaimValue),
    Time(i64),
}

/// `aud` (RFC 7519 §4.1.3).
#[derive(Debug)]
pub(super) enum Audience {
    List(Vec<String>),
    One(String),
}

impl Payload {
    /// Reads a JSON object.
    pub(super) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        let mut complaint = None;
        read_whole(json, PayloadSeed(&mut complaint))
            .map_err(|_json| complaint.unwrap_or(TokenError::Malformed { what: "the payload is not one JSON object" }))
    }

    /// Takes out of an object what the table of another kind of issuer knows.
    pub(super) fn of_other(
        kind: IssuerKind,
        model: &'static Model,
        object: &Map<String, Value>,
    ) -> Result<Self, TokenError> {
        let read = |claim: &Mapped| {
            let mut parts = claim.from.split('/');
            let first = parts.next().and_then(|part| object.get(part));
            let Some(value) = parts.fold(first, |found, part| found?.get(part)).filter(|value| !value.is_null()) else {
                return Ok(None);
            };
            let mut complaint = None;
            let seed = ClaimSeed { name: claim.from, shape: claim.shape, complaint: &mut complaint };
            let shape = TokenError::ClaimShape { name: claim.from, wanted: claim.shape.words() };
            seed.deserialize(value).map_err(|_json: serde_json::Error| complaint.unwrap_or(shape))
        };
        let read = model.claims.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { kind, read })
    }

    /// Takes a claim out, if the token has it.
    pub(super) fn take(&mut self, name: &str) -> Option<Read> {
        self.read.get_mut(self.kind.position(name)?)?.take()
    }

    /// All that is left, by name.
    pub(super) fn rest(self) -> impl Iterator<Item = (&'static str, ClaimValue)> {
        let kind = self.kind;
        self.read.into_iter().enumerate().filter_map(move |(place, read)| match read? {
            Read::Kept(value) => Some((kind.name_at(place)?, value)),
            Read::Audience(_) | Read::Time(_) => None,
        })
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload(unverified)")
    }
}

/// Where a reader deep inside serde, whose errors are only text, leaves the typed one.
pub(super) type Complaint = Option<TokenError>;

pub(super) fn read_whole<'de, S: DeserializeSeed<'de>>(
    json: &'de [u8],
    seed: S,
) -> Result<S::Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = seed.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

fn complain<E: Error>(complaint: &mut Complaint, error: TokenError) -> E {
    *complaint = Some(error);
    E::custom("see the complaint")
}

pub(super) fn twice<E: Error>(complaint: &mut Complaint, name: &str) -> E {
    complain(complaint, TokenError::DuplicateMember { name: quotable(name) })
}

struct PayloadSeed<'a>(&'a mut Complaint);

impl<'de> DeserializeSeed<'de> for PayloadSeed<'_> {
    type Value = Payload;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Payload, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PayloadSeed<'_> {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Payload, A::Error> {
        let mut payload = Payload { kind: IssuerKind::GitLab, read: GITLAB.iter().map(|_| None).collect() };
        let (mut seen, mut unknown) = (0_u64, BTreeSet::new());
        while let Some(place) = members.next_key_seed(ClaimName { unknown: &mut unknown, complaint: self.0 })? {
            let claim = place.and_then(|at| Some((at, GITLAB.get(at)?)));
            let Some((at, (name, shape))) = claim else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen & (1 << at) != 0 {
                return Err(twice(self.0, name));
            }
            seen |= 1 << at;
            let value = members.next_value_seed(ClaimSeed { name, shape: *shape, complaint: self.0 })?;
            if let Some(slot) = payload.read.get_mut(at) {
                *slot = value;
            }
        }
        Ok(payload)
    }
}

/// A member's name, as its place in the table; unknown ones are only remembered.
struct ClaimName<'a> {
    unknown: &'a mut BTreeSet<String>,
    complaint: &'a mut Complaint,
}

impl<'de> DeserializeSeed<'de> for ClaimName<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ClaimName<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        let place = position(name);
        if place.is_none() && !self.unknown.insert(name.to_owned()) {
            return Err(twice(self.complaint, name));
        }
        Ok(place)
    }
}

/// One claim's value, to be read by its shape.
struct ClaimSeed<'a> {
    name: &'static str,
    shape: Shape,
    complaint: &'a mut Complaint,
}

impl ClaimSeed<'_> {
    fn wrong<E: Error>(self) -> E {
        complain(self.complaint, TokenError::ClaimShape { name: self.name, wanted: self.shape.words() })
    }
}

impl<'de> DeserializeSeed<'de> for ClaimSeed<'_> {
    type Value = Option<Read>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Read>, D::Error> {
        if self.shape == Shape::Ignored {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_past| None);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ClaimSeed<'_> {
    type Value = Option<Read>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shape.words())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Read>, E> {
        let kept = |text: &str| Some(Read::Kept(ClaimValue::Text(text.to_owned())));
        Ok(match self.shape {
            Shape::Account => kept(&account(text).ok_or_else(|| self.wrong())?),
            Shape::Behind(words) => {
                kept(text.strip_prefix(words).filter(|path| is_path(path)).ok_or_else(|| self.wrong())?)
            }
            Shape::Named if (1..=TEXT_BYTES_MAX).contains(&text.len()) => Some(Read::Kept(ClaimValue::Id(named(text)))),
            Shape::SpiffePath => kept(spiffe_path(text).ok_or_else(|| self.wrong())?),
            Shape::Audience if text.len() <= TEXT_BYTES_MAX => Some(Read::Audience(Audience::One(text.to_owned()))),
            Shape::BoolText if matches!(text, "true" | "false" | "") => {
                Some(Read::Kept(ClaimValue::Bool(text == "true")))
            }
            Shape::Id | Shape::IdOrEmpty if digits(text).is_some() => {
                digits(text).map(|id| Read::Kept(ClaimValue::Id(id)))
            }
            Shape::IdOrEmpty if text.is_empty() => None,
            Shape::Path if is_path(text) => kept(text),
            Shape::Text if text.len() <= TEXT_BYTES_MAX => kept(text),
            // Store keys are made of it, and 255 is far above the 36 of a UUID.
            Shape::Token if (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) => kept(text),
            Shape::Audience
            | Shape::BoolText
            | Shape::Id
            | Shape::IdNumber
            | Shape::IdOrEmpty
            | Shape::Identities
            | Shape::Ignored
            | Shape::Named
            | Shape::Path
            | Shape::Text
            | Shape::Texts
            | Shape::Time
            | Shape::Token => return Err(self.wrong()),
        })
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<Read>, E> {
        match (self.shape, i64::try_from(number)) {
            (Shape::Time, Ok(seconds)) => Ok(Some(Read::Time(seconds))),
            (Shape::IdNumber, Ok(1..)) => Ok(Some(Read::Kept(ClaimValue::Id(number)))),
            _ => Err(self.wrong()),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Read>, E> {
        let nullable = matches!(self.shape, Shape::BoolText | Shape::IdNumber | Shape::IdOrEmpty | Shape::Text);
        if nullable { Ok(None) } else { Err(self.wrong()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<Read>, A::Error> {
        let mut complaint = None;
        let read = match self.shape {
            Shape::Audience => texts(&mut list).map(|all| Read::Audience(Audience::List(all))),
            Shape::Identities => identities(&mut list, &mut complaint).map(Read::Kept),
            Shape::Texts => texts(&mut list).map(|all| Read::Kept(ClaimValue::Texts(all))),
            Shape::Account
            | Shape::Behind(_)
            | Shape::BoolText
            | Shape::Id
            | Shape::IdNumber
            | Shape::IdOrEmpty
            | Shape::Ignored
            | Shape::Named
            | Shape::Path
            | Shape::SpiffePath
            | Shape::Text
            | Shape::Time
            | Shape::Token => return Err(self.wrong()),
        };
        read.map(Some).map_err(|_json| match complaint {
            Some(error) => complain(self.complaint, error),
            None => self.wrong(),
        })
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Option<Read>, E> {
        Err(self.wrong())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Option<Read>, E> {
        Err(self.wrong())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Option<Read>, E> {
        Err(self.wrong())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Option<Read>, A::Error> {
        Err(self.wrong())
    }
}

fn texts<'de, A: SeqAccess<'de>>(list: &mut A) -> Result<Vec<String>, A::Error> {
    let mut all = Vec::new();
    while let Some(text) = list.next_element::<String>()? {
        keep(&mut all, text.len(), text)?;
    }
    Ok(all)
}

/// Adds to a list, unless either is too long to keep: part of a list would say that the rest is not there.
fn keep<T, E: Error>(all: &mut Vec<T>, bytes: usize, one: T) -> Result<(), E> {
    if all.len() == LIST_MAX || bytes > TEXT_BYTES_MAX {
        return Err(E::custom("too long"));
    }
    all.push(one);
    Ok(())
}

/// As `texts`, for pairs; members that GitLab may add to a pair are read past.
fn identities<'de, A: SeqAccess<'de>>(list: &mut A, complaint: &mut Complaint) -> Result<ClaimValue, A::Error> {
    let mut all = Vec::new();
    while let Some(one) = list.next_element_seed(IdentitySeed(complaint))? {
        keep(&mut all, one.provider.len() + one.extern_uid.len(), one)?;
    }
    Ok(ClaimValue::Identities(all))
}

struct IdentitySeed<'a>(&'a mut Complaint);

impl<'de> DeserializeSeed<'de> for IdentitySeed<'_> {
    type Value = ExternalIdentity;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ExternalIdentity, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for IdentitySeed<'_> {
    type Value = ExternalIdentity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of provider and extern_uid")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<ExternalIdentity, A::Error> {
        let (mut provider, mut extern_uid, mut seen) = (None, None, BTreeSet::new());
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "provider" => provider = Some(members.next_value()?),
                "extern_uid" => extern_uid = Some(members.next_value()?),
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
            if let Some(name) = seen.replace(name) {
                return Err(twice(self.0, &name));
            }
        }
        match (provider, extern_uid) {
            (Some(provider), Some(extern_uid)) => Ok(ExternalIdentity { provider, extern_uid }),
            _ => Err(A::Error::custom("an incomplete pair")),
        }
    }
}
