//! What names the bearers of one issuer begins no ID of another's: a consumer that lets in all below `acme/payments/` means
//! the project that one issuer calls so, and knows of no other.

use super::Rule;
use super::naming::Naming;
use super::segments::{Segment, Step};
use super::shared_ids::{Clash, PAIRS_MAX, SharedId};
use crate::token::IssuerName;
use std::collections::{BTreeMap, HashSet};

/// How the names begin that rules give, and which of them begin alike.
#[derive(Debug, Default)]
pub(super) struct Beginnings<'r> {
    of_issuers: BTreeMap<&'r IssuerName, Vec<(&'r Rule, Naming<'r>)>>,
    seen: HashSet<(&'r IssuerName, Vec<Step<Segment>>)>,
    shared: Vec<SharedId>,
}

impl<'r> Beginnings<'r> {
    /// Holds a rule's names against those of other issuers' rules before it. That the rules themselves may be for
    /// different projects does not count: consumers see IDs, and rules change.
    pub(super) fn add(&mut self, rule: &'r Rule, names: &[Naming<'r>]) {
        for name in names {
            if !self.seen.insert((&rule.issuer, name.beginning().to_vec())) {
                continue;
            }
            let others = self.of_issuers.iter().filter(|(issuer, _)| **issuer != &rule.issuer);
            let mut alike = others.flat_map(|(_, others)| others).filter(|(_, other)| name.begins_as(other));
            if self.shared.len() < PAIRS_MAX
                && let Some((first, other)) = alike.next()
            {
                let issuers = [first, rule].map(|rule| rule.issuer.clone());
                self.shared.push(SharedId {
                    first: first.name.clone(),
                    second: rule.name.clone(),
                    template: name.text.clone(),
                    because: Clash::Issuers { issuers, other: other.text.clone() },
                });
            }
            self.of_issuers.entry(&rule.issuer).or_default().push((rule, name.clone()));
        }
    }

    pub(super) fn into_shared(self) -> Vec<SharedId> {
        self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::super::shared_ids::find;
    use super::super::tests::rule_for;
    use super::*;
    use crate::identity::IdTemplate;
    use crate::policy::ProfileTemplate;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::LazyLock;

    const TEMPLATES: [&str; 22] = [
        "/{project_path}/-/ci",
        "/{project_path}",
        "/{namespace_path}/-/{project_id}",
        "/projects/{project_id}/-/ci",
        "/projects/p{project_id}/-/ci",
        "/projects/{project_id}-{pipeline_id}",
        "/p{project_id}",
        "/{project_id}",
        "/7",
        "/a",
        "/a/b",
        "/a/{project_path}",
        "/a/-/{project_path}",
        "/a/b/{project_path}/-/ci",
        "/a/projects/{project_id}",
        "/b/{project_path}",
        "/b/p{project_id}",
        "/-/a/{project_path}",
        "/-/b/{project_path}/-/ci",
        "/-/lanyard/runners/{project_path}",
        "/-/lanyard/runners/a/{project_path}",
        "/-/lanyard/runners/b/{project_path}",
    ];
    const NAMES: [&str; 6] = ["a", "b", "ci", "p7", "projects", "7"];

    /// Some of the IDs that a template gives, each with how many segments a pattern has to have that means its bearers.
    fn some_ids(template: &str) -> Vec<(Vec<String>, usize)> {
        let mut paths: Vec<Vec<&str>> = NAMES.map(|name| vec![name]).to_vec();
        for longer in [2, 3] {
            let before: Vec<_> = paths.iter().filter(|path| path.len() == longer - 1).cloned().collect();
            paths.extend(before.iter().flat_map(|path| NAMES.map(|name| [&path[..], &[name]].concat())));
        }
        let segments: Vec<&str> = template.split('/').skip(1).collect();
        let least = segments.iter().position(|segment| segment.contains('{')).map_or(segments.len(), |hole| hole + 1);
        let mut ids: Vec<Vec<String>> = vec![Vec::new()];
        for segment in segments {
            let values: Vec<Vec<String>> = if segment.contains("_path}") {
                paths.iter().map(|path| path.iter().map(|name| (*name).to_owned()).collect()).collect()
            } else {
                ["7", "77"].map(|id| vec![filled(segment, id)]).to_vec()
            };
            ids = ids.iter().flat_map(|id| values.iter().map(move |value| [&id[..], value].concat())).collect();
        }
        ids.into_iter().map(|id| (id, least)).collect()
    }

    fn filled(segment: &str, id: &str) -> String {
        let part = |part: &str| part.split_once('}').map_or(part.to_owned(), |(_, rest)| format!("{id}{rest}"));
        segment.split('{').map(part).collect()
    }

    /// Whether a pattern for bearers of one admits a bearer of the other, tried out.
    fn admits(one: &str, other: &str) -> bool {
        let patterns: BTreeSet<Vec<String>> = some_ids(one)
            .into_iter()
            .flat_map(|(id, least)| (least..=id.len()).map(move |end| id[..end].to_vec()))
            .collect();
        some_ids(other).iter().any(|(id, _)| (1..=id.len()).any(|end| patterns.contains(&id[..end])))
    }

    /// The pairs of which one admits the other's.
    static MEETING: LazyLock<BTreeSet<(String, String)>> = LazyLock::new(|| {
        let pairs = TEMPLATES.iter().flat_map(|one| TEMPLATES.iter().map(move |other| (*one, *other)));
        let meet = pairs.filter(|(one, other)| admits(one, other) || admits(other, one));
        meet.map(|(one, other)| (one.to_owned(), other.to_owned())).collect()
    });

    #[test]
    fn every_two_templates_of_two_issuers_are_told_apart_as_trying_out_their_ids_tells_them() {
        for one in TEMPLATES {
            for other in TEMPLATES {
                let found = find(&[rule_for("corp", one), rule_for("com", other)]);
                let meet = MEETING.contains(&(one.to_owned(), other.to_owned()));
                assert_eq!(!found.is_empty(), meet, "{one} and {other}: {found:?}");
            }
        }
        assert!((100..400).contains(&MEETING.len()), "{} of 484 meet", MEETING.len());
    }

    fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
        let ids = prop::sample::subsequence(TEMPLATES.to_vec(), 1..3);
        let one = (prop::sample::select(vec!["corp", "com", "lab"]), ids, prop::bool::weighted(0.2));
        prop::collection::vec(one, 0..5).prop_map(|all| {
            let each = all.into_iter().enumerate().map(|(at, (issuer, ids, observe))| {
                let mut rule = rule_for(issuer, ids[0]);
                let svid =
                    |id: &&str| ProfileTemplate { profile: Some((*id).to_owned()), id: IdTemplate::parse(id).unwrap() };
                Arc::make_mut(&mut rule.gives).svids = ids.iter().map(svid).collect();
                (rule.name, rule.observe) = (format!("r{at}"), observe);
                rule
            });
            each.collect()
        })
    }

    proptest! {
        #[test]
        fn rules_load_where_no_pattern_for_bearers_of_one_issuer_admits_anothers(rules in some_rules()) {
            let granting: Vec<&Rule> = rules.iter().filter(|rule| !rule.observe).collect();
            let ids = |rule: &Rule| rule.gives.svids.iter().map(|svid| svid.id.to_string()).collect::<Vec<_>>();
            let meet = |one: &Rule, other: &Rule| {
                ids(one).iter().any(|a| ids(other).iter().any(|b| MEETING.contains(&(a.clone(), b.clone()))))
            };
            let wrong = granting.iter().any(|one| {
                granting.iter().any(|other| one.issuer != other.issuer && meet(one, other))
            });
            let told = find(&rules).into_iter().any(|shared| matches!(shared.because, Clash::Issuers { .. }));
            prop_assert_eq!(told, wrong);
        }
    }
}
