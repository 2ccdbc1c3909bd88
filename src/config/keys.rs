//! `[keys]`: how long they live, where, what seals them, and who has to know of them.

use super::Environment;
use super::places::{read_places, warn_of_memory};
use super::problem::Problem;
use super::quantity::{SPAN_MAX, render_duration};
use super::reader::Reader;
use super::sealing::read_sealing;
use super::section::Section;
use super::spread::{Spread, read_spread};
use super::svids::TTL_MAX;
use crate::authority::{KeyPlan, SealingSettings};
use crate::custody::PlacesSettings;
use std::path::Path;
use std::time::Duration;

/// Below this an SVID ends before slow consumers have seen it; tests with real consumers go below, with a warning.
const TTL_WARNED_BELOW: Duration = Duration::from_secs(60);
/// A root that outlives its algorithm helps nobody, and no certificate can end after 9999.
const ROOT_MAX: Duration = Duration::from_secs(50 * 365 * 86_400);
/// A server's keys.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// The key that seals the keyring; made at the first start when neither it nor a keyring exists.
    pub sealing: SealingSettings,
    /// Where keys live outside the keyring.
    pub places: PlacesSettings,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// Whether roots and JWT keys change at half of their life, or by an operator's order only.
    pub change_by_themselves: bool,
    /// Who keeps a copy of our bundle without saying so: an operator confirms it.
    pub holders: Vec<String>,
    /// Whether new intermediates may sign only for IDs of the trust domain.
    pub name_constraints: bool,
}

/// How long things live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lifetimes {
    /// A root. Ten years: whoever pasted it somewhere by hand must not meet its end by surprise, and a stolen root is
    /// ended by removing it from the bundle, not by waiting.
    pub root: Duration,
    /// An intermediate: a day, replaced long before.
    pub intermediate: Duration,
    /// A JWT key: a quarter of a year, replaced at half of it.
    pub jwt_key: Duration,
    /// An SVID whose rule names no ttl.
    pub svid: Duration,
    /// What the bundle says of how often to read it again.
    pub refresh_hint: Duration,
    /// What a new key waits for besides the longest ttl: the slowest relying party to read the bundle again.
    pub propagation: Duration,
}

impl Lifetimes {
    /// An SVID by default: a quarter of an hour outlives every renewal hiccup and few thefts.
    pub const SVID: Duration = Duration::from_secs(15 * 60);
}

impl Default for Lifetimes {
    fn default() -> Self {
        let KeyPlan { root, intermediate, jwt: jwt_key, refresh_hint, propagation, .. } = KeyPlan::DEFAULT;
        Self { root, intermediate, jwt_key, svid: Self::SVID, refresh_hint, propagation }
    }
}

fn read_rotation(keys: &mut Section<'_, '_>) -> bool {
    let would_do = "\"automatic\", or \"by hand\" for `lanyard authority` alone";
    let automatic = keys.parsed("rotation", would_do, |text| match text {
        "automatic" => Ok(true),
        "by hand" => Ok(false),
        _ => Err("neither"),
    });
    automatic.unwrap_or(true)
}

/// A key that changes by itself is published at half of its life, must have reached everybody when a quarter is left, and
/// cannot before its minimum time.
fn check_lives(reader: &Reader<'_>, lives: &Lifetimes, (root, jwt): (Option<usize>, Option<usize>)) {
    let least = (lives.refresh_hint * 3).max(lives.propagation + lives.svid) * 4;
    for (key, line, life) in [("keys.root_lifetime", root, lives.root), ("keys.jwt_key_lifetime", jwt, lives.jwt_key)] {
        if life < least {
            let remedy = format!("write {} or more, or rotation = \"by hand\"", render_duration(least));
            reader.report(line, key.to_owned(), format!("\"{}\"", render_duration(life)), remedy);
        }
    }
}

/// `[[holder]]`: a mesh's pasted PEM, a cloud's trust anchor. No new root signs before an operator confirms each.
fn read_holders(root: &mut Section<'_, '_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for mut holder in root.sections("holder") {
        let is_named = holder.holds("name");
        let name = holder.parsed("name", "a name of its own, such as \"payments mesh\"", |name| match name {
            "" => Err("empty"),
            name if names.iter().any(|other| other == name) => Err("the name of another holder"),
            name => Ok(name.to_owned()),
        });
        if !is_named {
            holder.missing::<String>("name", "name the holder, as `lanyard authority confirm` will");
        }
        names.extend(name);
        holder.finish();
    }
    names
}

/// `[keys]`, the lifetime of `[svid]` and the holders, with what loads but should be known.
pub(super) fn read_keys(
    reader: &Reader<'_>,
    (root, svid): (&mut Section<'_, '_>, &mut Section<'_, '_>),
    (data_dir, environment): (&Path, &dyn Environment),
) -> (KeySettings, Vec<Problem>) {
    let mut keys = root.section("keys");
    let default = Lifetimes::default();
    let name_constraints = keys.flag("name_constraints").unwrap_or(false);
    let rotation_lines = (keys.line_of("root_lifetime"), keys.line_of("jwt_key_lifetime"));
    let change_by_themselves = read_rotation(&mut keys);
    let lines = (keys.line_of("intermediate_lifetime"), svid.line_of("ttl"));
    let Spread { refresh_hint, propagation, mut warnings } = read_spread(reader, &mut keys);
    let lifetimes = Lifetimes {
        root: keys.duration("root_lifetime", ROOT_MAX).unwrap_or(default.root),
        intermediate: keys.duration("intermediate_lifetime", SPAN_MAX).unwrap_or(default.intermediate),
        jwt_key: keys.duration("jwt_key_lifetime", ROOT_MAX).unwrap_or(default.jwt_key),
        svid: svid.duration("ttl", TTL_MAX).unwrap_or(default.svid),
        refresh_hint,
        propagation,
    };
    let written = render_duration;
    if lifetimes.intermediate >= lifetimes.root {
        let remedy = format!("stay below the root's lifetime, {}", written(lifetimes.root));
        keys.problem("intermediate_lifetime", lines.0, format!("\"{}\"", written(lifetimes.intermediate)), remedy);
    }
    if lifetimes.svid.is_zero() || lifetimes.svid >= lifetimes.intermediate {
        let remedy = format!("stay below its signer's lifetime, {}", written(lifetimes.intermediate));
        svid.problem("ttl", lines.1, format!("\"{}\"", written(lifetimes.svid)), remedy);
    }
    if lifetimes.svid < TTL_WARNED_BELOW {
        warnings.push(reader.problem_at(
            lines.1,
            "svid.ttl",
            format!("\"{}\"", written(lifetimes.svid)),
            "use a minute or more outside tests: slow consumers may see only expired SVIDs",
        ));
    }
    let root_place = keys.line_of("root_place");
    let places = read_places(&mut keys);
    warnings.extend(warn_of_memory(reader, root_place, &places));
    let sealing = read_sealing(&mut keys, &places).settings(reader, (data_dir, environment));
    keys.finish();
    if change_by_themselves {
        check_lives(reader, &lifetimes, rotation_lines);
    }
    let holders = read_holders(root);
    (KeySettings { sealing, places, lifetimes, change_by_themselves, holders, name_constraints }, warnings)
}
