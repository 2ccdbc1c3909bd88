//! A SPIFFE ID with holes to be filled from claims, such as `/{project_path}/-/pipelines/{pipeline_id}`.
//!
//! **Invariant:** filling is injective. Two different sets of claims never give the same ID, because ids are digits
//! with something else between them, and a path ends at `-`, which no GitLab namespace or project can be called.
//! Not here: whether two templates can give the same ID (`policy` compares rules), who owns a path (path pins).

use super::spiffe_id::check_segment;
use super::{SpiffeId, SpiffeIdError, TrustDomain};
use std::fmt;

/// Claims that expand to several segments.
const PATH_CLAIMS: [&str; 2] = ["project_path", "namespace_path"];

/// Claims whose values are digits; every other claim can hold what an ID cannot.
const ID_CLAIMS: [&str; 6] = ["project_id", "namespace_id", "pipeline_id", "job_id", "runner_id", "user_id"];

/// Below `/-/lanyard`: what runners are before a job has come, which is for issuers that know runners.
const RUNNERS: &str = "runners";

/// Ends a path: what stands before it is exactly one project or namespace.
const PATH_END: &str = "-";

/// A legal template: filled with values that fit, it always gives a well-formed ID.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IdTemplate {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Segment {
    /// One of [`PATH_CLAIMS`].
    Path(&'static str),
    /// One segment: literals and ids in turn.
    Pieces(Vec<Piece>),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Piece {
    /// One of [`ID_CLAIMS`].
    Id(&'static str),
    Literal(String),
}

/// Why a text is no template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TemplateError {
    /// Two ids that run together.
    #[error(
        "two ids stand together in {segment:?}; put a letter, '.', '-' or '_' between them, or 11 and 1 read like 1 and 11"
    )]
    AdjacentIds {
        /// The segment.
        segment: String,
    },
    /// A hole for a claim that could hold anything, such as a ref.
    #[error(
        "the claim {claim:?} cannot stand in an ID: only project_path, namespace_path, project_id, namespace_id, \
         pipeline_id, job_id, runner_id and user_id can. Refs, environments and names hold characters that an ID may not; \
         write a literal of the rule instead, such as /-/environments/production"
    )]
    ClaimNotAllowed {
        /// The hole's name.
        claim: String,
    },
    /// A literal that is no path segment.
    #[error("{segment:?} is not a legal path segment")]
    Literal {
        /// The segment.
        segment: String,
        /// What is wrong with it.
        #[source]
        source: SpiffeIdError,
    },
    /// `ns` or `sa` where a mesh would read a namespace out of it.
    #[error("Istio reads 'ns' and 'sa' anywhere in an ID; use them only as /ns/<literal>/sa/<segment without a path>")]
    MeshWord,
    /// No leading slash.
    #[error("a template begins with '/'; the trust domain comes from the server's configuration")]
    NoLeadingSlash,
    /// Something follows a path without `-` between.
    #[error(
        "{{{claim}}} is followed by {next:?}; write \"-\" behind it (as in /{{{claim}}}/-/pipelines/…), or a project of that name could pass for this one"
    )]
    PathNotEnded {
        /// The path's claim.
        claim: &'static str,
        /// What follows.
        next: String,
    },
    /// A path hole with something beside it.
    #[error("{{{claim}}} expands to several segments, so it must be a whole segment of its own")]
    PathNotWhole {
        /// The path's claim.
        claim: &'static str,
    },
    /// Below `/-/lanyard`, and no runner's.
    #[error(
        "/-/lanyard is where Lanyard's own identities live; choose another beginning, or /-/lanyard/runners/… for runners"
    )]
    Reserved,
    /// The literal parts alone give no ID.
    #[error("the template is too long for a SPIFFE ID")]
    TooLong,
    /// A brace without its partner.
    #[error("a '{{' and its '}}' belong together in one segment: {segment:?}")]
    UnbalancedBraces {
        /// The segment.
        segment: String,
    },
}

/// Why values do not make an ID of a template. Values are never cut, escaped or cleaned up.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FillError {
    /// A path has a segment `-`, which no GitLab path has.
    #[error("the claim {claim} holds a segment \"-\", which no GitLab path has")]
    DashSegment {
        /// Which claim.
        claim: &'static str,
    },
    /// A name that meshes read as a namespace.
    #[error(
        "the claim {claim} holds the segment {segment:?}, which Istio's namespace policies match in any ID; \
         give this project the numeric layout /projects/{{project_id}}/-/…"
    )]
    MeshWord {
        /// Which claim.
        claim: &'static str,
        /// As it is spelled there.
        segment: String,
    },
    /// The token lacks the claim.
    #[error("the token has no claim {claim}, which the rule's ID names")]
    MissingClaim {
        /// Which claim.
        claim: &'static str,
    },
    /// An id that is not 1 to 19 digits without a leading zero.
    #[error("the claim {claim} is not an id")]
    NotAnId {
        /// Which claim.
        claim: &'static str,
    },
    /// A path that does not fit into an ID.
    #[error("the claim {claim} does not fit into a SPIFFE ID; give this project the numeric layout")]
    Path {
        /// Which claim.
        claim: &'static str,
        /// What is wrong with it.
        #[source]
        source: SpiffeIdError,
    },
    /// Over 2048 bytes in all.
    #[error("the filled template does not fit into a SPIFFE ID")]
    Whole(#[source] SpiffeIdError),
}

impl IdTemplate {
    /// Reads a template: literal segments and `{claim}` holes. `{project_path}` and `{namespace_path}` are whole
    /// segments, expand to several and end the template or stand before `-`; ids may have literals beside them.
    ///
    /// # Errors
    /// One variant per way to be wrong.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let path = text.strip_prefix('/').ok_or(TemplateError::NoLeadingSlash)?;
        let segments = path.split('/').map(Segment::parse).collect::<Result<Vec<_>, _>>()?;
        for pair in segments.windows(2) {
            if let [Segment::Path(claim), next] = pair
                && !next.is_literal(PATH_END)
            {
                return Err(TemplateError::PathNotEnded { claim, next: next.to_string() });
            }
        }
        if let [first, second, ..] = segments.as_slice()
            && first.is_literal("-")
            && second.is_literal("lanyard")
            && !(matches!(segments.get(2), Some(third) if third.is_literal(RUNNERS)) && segments.len() > 3)
        {
            return Err(TemplateError::Reserved);
        }
        let template = Self { text: text.to_owned(), segments };
        template.check_mesh_words()?;
        // A template that is too long with the shortest values fits none.
        let shortest = TrustDomain::already_checked("t");
        template.fill(&shortest, |_claim| Some("1".to_owned())).map_err(|_too_long| TemplateError::TooLong)?;
        Ok(template)
    }

    fn check_mesh_words(&self) -> Result<(), TemplateError> {
        if !self.segments.iter().any(|segment| segment.literal().is_some_and(is_mesh_word)) {
            return Ok(());
        }
        if let [ns, namespace, sa, Segment::Pieces(account)] = self.segments.as_slice()
            && ns.is_literal("ns")
            && namespace.literal().is_some_and(|name| !is_mesh_word(name))
            && sa.is_literal("sa")
            && !matches!(account.as_slice(), [Piece::Literal(name)] if is_mesh_word(name))
        {
            return Ok(());
        }
        Err(TemplateError::MeshWord)
    }

    /// The names of the claims it wants, in order.
    pub fn holes(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flat_map(|segment| match segment {
            Segment::Path(claim) => vec![*claim],
            Segment::Pieces(pieces) => pieces.iter().filter_map(Piece::claim).collect(),
        })
    }

    /// Whether its IDs are runners', and no job's.
    pub fn is_for_runners(&self) -> bool {
        let head = self.segments.first().zip(self.segments.get(1));
        head.is_some_and(|(first, second)| first.is_literal(PATH_END) && second.is_literal("lanyard"))
    }

    /// Whether it names a project or namespace by a path, which may be renamed and used again.
    pub fn names_a_path(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Path(_)))
    }

    /// How long an ID of it can be, where each claim has a longest value; none where one has none.
    pub fn longest(&self, trust_domain: &TrustDomain, claim: impl Fn(&str) -> Option<usize>) -> Option<usize> {
        let pieces = self.segments.iter().map(|segment| match segment {
            Segment::Path(path) => claim(path),
            Segment::Pieces(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Id(id) => claim(id),
                    Piece::Literal(literal) => Some(literal.len()),
                })
                .sum(),
        });
        let behind: usize = pieces.map(|length| Some(1 + length?)).sum::<Option<usize>>()?;
        Some("spiffe://".len() + trust_domain.as_str().len() + behind)
    }

    /// Fills the holes. `claim` gives a claim's text (ids as plain digits), or none if the token lacks it.
    ///
    /// # Errors
    /// See [`FillError`].
    pub fn fill(
        &self,
        trust_domain: &TrustDomain,
        claim: impl Fn(&str) -> Option<String>,
    ) -> Result<SpiffeId, FillError> {
        let value = |name: &'static str| claim(name).ok_or(FillError::MissingClaim { claim: name });
        let filled = self.segments.iter().map(|segment| segment.fill(&value)).collect::<Result<Vec<_>, _>>()?;
        let segments = filled.iter().flat_map(|part| part.split('/'));
        SpiffeId::from_segments(trust_domain, segments).map_err(FillError::Whole)
    }
}

fn is_mesh_word(segment: &str) -> bool {
    segment.eq_ignore_ascii_case("ns") || segment.eq_ignore_ascii_case("sa")
}

fn checked_path(claim: &'static str, path: String) -> Result<String, FillError> {
    for segment in path.split('/') {
        check_segment(segment).map_err(|source| FillError::Path { claim, source })?;
        if segment == PATH_END {
            return Err(FillError::DashSegment { claim });
        }
        if is_mesh_word(segment) {
            return Err(FillError::MeshWord { claim, segment: segment.to_owned() });
        }
    }
    Ok(path)
}

fn checked_id(claim: &'static str, id: String) -> Result<String, FillError> {
    let digits = id.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (1..=19).contains(&id.len()) && !id.starts_with('0') {
        Ok(id)
    } else {
        Err(FillError::NotAnId { claim })
    }
}

impl Segment {
    fn parse(segment: &str) -> Result<Self, TemplateError> {
        let unbalanced = || TemplateError::UnbalancedBraces { segment: segment.to_owned() };
        let mut pieces = Vec::new();
        let mut rest = segment;
        while let Some((literal, hole)) = rest.split_once('{') {
            let (claim, behind) = hole.split_once('}').ok_or_else(unbalanced)?;
            if let Some(path) = PATH_CLAIMS.into_iter().find(|known| *known == claim) {
                let whole = segment.len() == claim.len() + "{}".len();
                return whole.then_some(Self::Path(path)).ok_or(TemplateError::PathNotWhole { claim: path });
            }
            let id = ID_CLAIMS
                .into_iter()
                .find(|known| *known == claim)
                .ok_or_else(|| TemplateError::ClaimNotAllowed { claim: claim.to_owned() })?;
            let between_ids = matches!(pieces.last(), Some(Piece::Id(_)));
            if between_ids && literal.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(TemplateError::AdjacentIds { segment: segment.to_owned() });
            }
            pieces.extend(Piece::literal(literal));
            pieces.push(Piece::Id(id));
            rest = behind;
        }
        pieces.extend(Piece::literal(rest));
        let literals = Self::Pieces(pieces);
        if segment.matches('{').count() != segment.matches('}').count() {
            return Err(unbalanced());
        }
        literals.check_with_ids_of_one(segment)?;
        Ok(literals)
    }

    /// An id is digits, so a segment that is legal with `1` for each id is legal with all.
    fn check_with_ids_of_one(&self, segment: &str) -> Result<(), TemplateError> {
        let Self::Pieces(pieces) = self else { return Ok(()) };
        let sample: String = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Id(_) => "1",
                Piece::Literal(literal) => literal,
            })
            .collect();
        check_segment(&sample).map_err(|source| TemplateError::Literal { segment: segment.to_owned(), source })
    }

    fn fill(&self, value: &impl Fn(&'static str) -> Result<String, FillError>) -> Result<String, FillError> {
        match self {
            Self::Path(claim) => checked_path(claim, value(claim)?),
            Self::Pieces(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Id(claim) => checked_id(claim, value(claim)?),
                    Piece::Literal(literal) => Ok(literal.clone()),
                })
                .collect(),
        }
    }

    /// Its text, if no claim decides it.
    fn literal(&self) -> Option<&str> {
        match self {
            Self::Pieces(pieces) => match pieces.as_slice() {
                [Piece::Literal(literal)] => Some(literal),
                _ => None,
            },
            Self::Path(_) => None,
        }
    }

    fn is_literal(&self, text: &str) -> bool {
        self.literal() == Some(text)
    }
}

impl Piece {
    fn literal(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::Literal(text.to_owned()))
    }

    const fn claim(&self) -> Option<&'static str> {
        match self {
            Self::Id(claim) => Some(claim),
            Self::Literal(_) => None,
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(claim) => write!(f, "{{{claim}}}"),
            Self::Pieces(pieces) => pieces.iter().try_for_each(|piece| match piece {
                Piece::Id(claim) => write!(f, "{{{claim}}}"),
                Piece::Literal(literal) => f.write_str(literal),
            }),
        }
    }
}

impl fmt::Display for IdTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USUAL: &str = "/{project_path}/-/pipelines/{pipeline_id}";

    fn trust_domain() -> TrustDomain {
        TrustDomain::parse("ci.example.org").unwrap()
    }

    fn fill(template: &str, claims: &[(&str, &str)]) -> Result<SpiffeId, FillError> {
        IdTemplate::parse(template).unwrap().fill(&trust_domain(), |name| {
            claims.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_usual_template_reads_like_the_pipelines_address() {
        let id = fill(USUAL, &[("project_path", "acme/payments/api"), ("pipeline_id", "574")]).unwrap();
        assert_eq!(id.as_str(), "spiffe://ci.example.org/acme/payments/api/-/pipelines/574");
        let template = IdTemplate::parse(USUAL).unwrap();
        assert_eq!(template.holes().collect::<Vec<_>>(), ["project_path", "pipeline_id"]);
        assert_eq!((template.to_string().as_str(), template.names_a_path()), (USUAL, true));
    }

    #[test]
    fn the_layouts_of_the_mesh_contract_are_templates() {
        for (template, id) in [
            ("/projects/{project_id}/-/pipelines/{pipeline_id}", "/projects/42/-/pipelines/7"),
            ("/ns/ci/sa/p{project_id}.pl{pipeline_id}", "/ns/ci/sa/p42.pl7"),
            ("/{project_path}", "/acme/api"),
            ("/projects/{project_id}", "/projects/42"),
            (
                "/{project_path}/-/environments/production/pipelines/{pipeline_id}",
                "/acme/api/-/environments/production/pipelines/7",
            ),
        ] {
            let filled = fill(template, &[("project_path", "acme/api"), ("project_id", "42"), ("pipeline_id", "7")]);
            assert_eq!(filled.unwrap().path(), id);
        }
    }

    #[test]
    fn each_way_to_be_wrong_is_told_apart() {
        type Is = fn(&TemplateError) -> bool;
        let cases: [(&str, Is); 23] = [
            ("", |e| matches!(e, TemplateError::NoLeadingSlash)),
            ("spiffe://td/x", |e| matches!(e, TemplateError::NoLeadingSlash)),
            ("/", |e| matches!(e, TemplateError::Literal { .. })),
            ("/a/", |e| matches!(e, TemplateError::Literal { .. })),
            ("/a/../b", |e| matches!(e, TemplateError::Literal { .. })),
            ("/a b", |e| matches!(e, TemplateError::Literal { .. })),
            ("/{ref}", |e| matches!(e, TemplateError::ClaimNotAllowed { .. })),
            ("/{environment}/{pipeline_id}", |e| matches!(e, TemplateError::ClaimNotAllowed { .. })),
            ("/{}", |e| matches!(e, TemplateError::ClaimNotAllowed { .. })),
            ("/{project_id", |e| matches!(e, TemplateError::UnbalancedBraces { .. })),
            ("/project_id}", |e| matches!(e, TemplateError::UnbalancedBraces { .. })),
            ("/{project_id}{pipeline_id}", |e| matches!(e, TemplateError::AdjacentIds { .. })),
            ("/{project_id}1{pipeline_id}", |e| matches!(e, TemplateError::AdjacentIds { .. })),
            ("/p{project_path}", |e| matches!(e, TemplateError::PathNotWhole { .. })),
            ("/{project_path}/pipelines/{pipeline_id}", |e| matches!(e, TemplateError::PathNotEnded { .. })),
            ("/{namespace_path}/{project_id}", |e| matches!(e, TemplateError::PathNotEnded { .. })),
            ("/-/lanyard/servers/{project_id}", |e| matches!(e, TemplateError::Reserved)),
            ("/-/lanyard", |e| matches!(e, TemplateError::Reserved)),
            ("/-/lanyard/runners", |e| matches!(e, TemplateError::Reserved)),
            ("/ns/{project_id}/sa/x", |e| matches!(e, TemplateError::MeshWord)),
            ("/ns/{project_path}", |e| matches!(e, TemplateError::MeshWord)),
            ("/{project_path}/-/NS/prod", |e| matches!(e, TemplateError::MeshWord)),
            ("/ns/sa/sa/x", |e| matches!(e, TemplateError::MeshWord)),
        ];
        for (template, expected) in cases {
            let refused = IdTemplate::parse(template).unwrap_err();
            assert!(expected(&refused), "{template}: {refused:?}");
        }
        assert_eq!(IdTemplate::parse(&format!("/{}", "a".repeat(2048))), Err(TemplateError::TooLong));
    }

    /// Shows: ID-17.
    #[test]
    fn a_group_called_ns_gets_no_identity_by_name() {
        for path in ["ns/istio-system", "acme/SA", "acme/Ns/x"] {
            let refused = fill(USUAL, &[("project_path", path), ("pipeline_id", "1")]).unwrap_err();
            assert!(matches!(refused, FillError::MeshWord { .. }), "{path}: {refused:?}");
        }
    }

    /// Shows: ID-17.
    #[test]
    fn values_that_do_not_fit_are_refused_and_never_cleaned() {
        let long = "a".repeat(2100);
        for path in
            ["", "/", "a/", "/a", "a//b", "a/../b", "a%2Fb", "a b", "acme/\u{1f680}", "a/-/b", "-", long.as_str()]
        {
            assert!(fill(USUAL, &[("project_path", path), ("pipeline_id", "1")]).is_err(), "{path}");
        }
        for id in ["", "0", "01", "-1", "1/2", "1 ", "\u{661}", "12345678901234567890"] {
            assert!(fill(USUAL, &[("project_path", "a/b"), ("pipeline_id", id)]).is_err(), "{id}");
        }
        let refused = fill(USUAL, &[("project_path", "a/b")]).unwrap_err();
        assert_eq!(refused, FillError::MissingClaim { claim: "pipeline_id" });
    }

    fn project_path() -> impl Strategy<Value = String> {
        prop::collection::vec("[a-z0-9_.-]{1,3}|ns|api|acme|-", 1..4).prop_map(|segments| segments.join("/"))
    }

    proptest! {
        /// Shows: ID-17.
        #[test]
        fn distinct_claims_never_give_equal_ids(
            (p, q) in (project_path(), project_path()),
            (i, j, k, l) in (1_u64..120, 1_u64..120, 1_u64..120, 1_u64..120),
        ) {
            for template in [USUAL, "/x{project_id}.{pipeline_id}", "/{project_path}/-/p0{project_id}-0{pipeline_id}"] {
                let of = |path: &str, project: u64, pipeline: u64| fill(template, &[
                    ("project_path", path), ("project_id", &project.to_string()), ("pipeline_id", &pipeline.to_string()),
                ]);
                let template = IdTemplate::parse(template).unwrap();
                let same = template.holes().all(|hole| match hole {
                    "project_path" => p == q,
                    "project_id" => i == k,
                    _ => j == l,
                });
                if let (Ok(one), Ok(other)) = (of(&p, i, j), of(&q, k, l)) {
                    prop_assert_eq!(one == other, same);
                }
            }
        }

        /// Shows: ID-17.
        #[test]
        fn a_projects_prefix_is_no_other_projects(p in project_path(), q in project_path()) {
            prop_assume!(p != q);
            if let Ok(id) = fill(USUAL, &[("project_path", &q), ("pipeline_id", "1")]) {
                let foreign = format!("/{p}/-/");
                prop_assert!(!id.path().starts_with(&foreign));
            }
        }

        /// Shows: ID-17.
        #[test]
        fn hostile_values_give_a_valid_id_or_a_clean_refusal(path in ".{0,60}", id in ".{0,25}") {
            if let Ok(made) = fill(USUAL, &[("project_path", &path), ("pipeline_id", &id)]) {
                prop_assert_eq!(SpiffeId::parse(made.as_str()).unwrap(), made);
            }
        }

        #[test]
        fn any_text_is_a_template_or_refused(text in "[/{}a-z_.\\-0-9]{0,40}") {
            if let Ok(template) = IdTemplate::parse(&text) {
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }
}
