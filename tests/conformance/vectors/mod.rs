//! Every vector of `tests/vectors/spiffe.json`, each with the verdict of the code that would meet it.
//!
//! The kinds are what the file has: a kind without a judge here, or a vector that its judge passes over, fails the run.

mod documents;
mod tokens;
mod x509_svid;

use lanyard::bundle::EndpointUrl;
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::wire::WorkloadAddress;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// The vectors, and what their file says of itself.
pub(super) const FILE: &str = include_str!("../../vectors/spiffe.json");

/// What became of a vector.
pub(super) enum Verdict {
    Accepted,
    Refused(String),
    /// Well-formed for a standard that Lanyard does not offer yet; refused wherever it could be shown.
    NotOffered,
}

impl Verdict {
    fn of<T, E: Display>(outcome: Result<T, E>) -> Self {
        outcome.map_or_else(|error| Self::Refused(error.to_string()), |_read| Self::Accepted)
    }

    /// Whether the file agrees; where the standard leaves it open (`policy`), either is right.
    fn fits(&self, wanted: &str) -> bool {
        match (self, wanted) {
            (Self::Accepted, "accept" | "policy")
            | (Self::Refused(_), "reject" | "policy")
            | (Self::NotOffered, "accept") => true,
            (Self::Accepted | Self::Refused(_) | Self::NotOffered, _) => false,
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused(why) => write!(f, "refused ({why})"),
            Self::NotOffered => f.write_str("not offered"),
        }
    }
}

/// How the vectors of one kind fared.
#[derive(Debug)]
pub(super) struct Tally {
    kind: String,
    accepted: usize,
    refused: usize,
    not_offered: usize,
    /// Among the above: where the standard leaves it open.
    open: usize,
    /// What has no verdict, or another than the file wants.
    pub(super) complaints: Vec<String>,
}

impl Tally {
    pub(super) fn vectors(&self) -> usize {
        self.accepted + self.refused + self.not_offered
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, accepted, refused, not_offered, open, .. } = self;
        write!(f, "{kind:<20} {:>4}: {accepted:>3} accepted, {refused:>3} refused", self.vectors())?;
        if *not_offered > 0 {
            write!(f, ", {not_offered} not offered")?;
        }
        if *open > 0 { write!(f, " ({open} left open by the standard)") } else { Ok(()) }
    }
}

/// The vectors of each requirement. Those of what is not offered show nothing of it.
pub(super) fn by_requirement() -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (_kind, vectors) in kinds().into_iter().filter(|(kind, _vectors)| kind != "wit_svid") {
        for vector in &vectors {
            for requirement in vector["req"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                all.entry(requirement.to_owned()).or_default().push(text(vector, "id").to_owned());
            }
        }
    }
    all
}

/// The lists of vectors in the file, by their kind.
pub(super) fn kinds() -> Vec<(String, Vec<Value>)> {
    let file: Map<String, Value> = serde_json::from_str(FILE).unwrap();
    let lists = file.iter().filter_map(|(kind, list)| Some((kind.clone(), list.as_array()?.clone())));
    lists.filter(|(_kind, list)| list.iter().all(Value::is_object)).collect()
}

/// Judges everything in the file, kind by kind.
pub(super) fn judge_all() -> Vec<Tally> {
    kinds().iter().map(|(kind, vectors)| tally(kind, vectors)).collect()
}

fn tally(kind: &str, vectors: &[Value]) -> Tally {
    let mut tally =
        Tally { kind: kind.to_owned(), accepted: 0, refused: 0, not_offered: 0, open: 0, complaints: Vec::new() };
    let judge = judge_of(kind);
    for vector in vectors {
        let (id, wanted) = (text(vector, "id"), text(vector, "verdict"));
        let Some(verdict) = judge.as_ref().and_then(|judge| judge(vector)) else {
            tally.complaints.push(format!("{id}: no verdict"));
            continue;
        };
        if !verdict.fits(wanted) {
            tally.complaints.push(format!("{id}: {verdict} instead of {wanted}: {}", text(vector, "why")));
        }
        tally.open += usize::from(wanted == "policy");
        match verdict {
            Verdict::Accepted => tally.accepted += 1,
            Verdict::Refused(_) => tally.refused += 1,
            Verdict::NotOffered => tally.not_offered += 1,
        }
    }
    tally
}

/// Which code gives a kind's verdicts, as the page tells it.
pub(super) fn judged_by(kind: &str) -> &'static str {
    match kind {
        "spiffe_id" => "`SpiffeId::parse`",
        "trust_domain" => "`TrustDomain::parse`",
        "endpoint_socket" => "`WorkloadAddress`, which our command line reads addresses with",
        "bundle_endpoint_url" => "`EndpointUrl`, which federation reads addresses with",
        "bundle" => "`Bundle::parse`, which must also find exactly the keys that the vector expects",
        "jwt_bundle" => {
            "the `spiffe` crate: Lanyard sends this form and never reads it; what it sends passes there too"
        }
        "bundle_map" => "`BundleMap::parse`",
        "jwt_svid" => "`validate_jwt_svid`, as the Workload API does it",
        "wit_svid" => {
            "`validate_jwt_svid`, the one reader of tokens: WIT-SVIDs are incubating and not offered, so all are \
             refused, the well-formed one too, and no requirement counts as shown by them"
        }
        "x509_svid" => "`validate_x509_svid`; beside it openssl, Go, webpki and Java in `tests/judges`",
        _ => "",
    }
}

/// One vector to its verdict; none if this judge cannot judge it.
type Judge = Box<dyn Fn(&Value) -> Option<Verdict>>;

fn judge_of(kind: &str) -> Option<Judge> {
    Some(match kind {
        "spiffe_id" => Box::new(|vector| Some(spiffe_id(vector))),
        "trust_domain" => Box::new(|vector| Some(Verdict::of(TrustDomain::parse(text(vector, "input"))))),
        "endpoint_socket" => Box::new(|vector| Some(Verdict::of(text(vector, "input").parse::<WorkloadAddress>()))),
        "bundle_endpoint_url" => Box::new(|vector| Some(Verdict::of(text(vector, "input").parse::<EndpointUrl>()))),
        "bundle" => Box::new(|vector| Some(documents::bundle(vector))),
        "jwt_bundle" => Box::new(|vector| Some(documents::jwt_bundle(text(vector, "input")))),
        "bundle_map" => Box::new(|vector| Some(documents::bundle_map(text(vector, "input")))),
        "jwt_svid" => tokens::jwt_svid(),
        "wit_svid" => tokens::wit_svid(),
        "x509_svid" => x509_svid::judge(),
        _ => return None,
    })
}

/// Accepted means: reads back as it was written, and names a workload exactly if it has a path.
fn spiffe_id(vector: &Value) -> Verdict {
    let input = text(vector, "input");
    match SpiffeId::parse(input) {
        Err(error) => Verdict::Refused(error.to_string()),
        Ok(id) => {
            assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), input);
            assert_eq!(vector["leaf"].as_bool().unwrap_or(true), id.names_a_workload(), "{input}");
            Verdict::Accepted
        }
    }
}

pub(super) fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_default()
}
