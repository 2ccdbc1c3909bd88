//! `[jwt]` and `[[consumer]]`: the issuer that JWT-SVIDs name, and who takes them.

use super::quantity::render_duration;
use super::section::Section;
use crate::bundle::IssuerUrl;
use crate::consumer::{Consumer, ConsumerKind, Consumers};
use crate::crypto::JwsAlgorithm;
use std::net::SocketAddr;
use std::time::Duration;

/// Whoever keeps keys longer than this is not asked to trust new ones.
const KEEPS_KEYS_MAX: Duration = Duration::from_secs(7 * 86_400);

const KINDS: &str = "\"aws\", \"entra\", \"envoy\", \"google\", \"istio\", \"spiffe\" or \"vault\"";

/// The issuer is held against what each consumer takes, and the life of JWT keys that change by themselves against how long
/// it keeps them.
pub(super) fn read_consumers(
    root: &mut Section<'_, '_>,
    (bundle, jwt_keys): (&[SocketAddr], Option<Duration>),
) -> Consumers {
    let mut jwt = root.section("jwt");
    let (line, is_written) = (jwt.line_of("issuer"), jwt.holds("issuer"));
    let issuer: Option<IssuerUrl> = jwt.parsed("issuer", "an issuer, such as \"https://ci.example.org\"", str::parse);
    if bundle.is_empty() && issuer.is_some() {
        let found = "an issuer, while listen.bundle is off, so that nobody can read its documents here";
        jwt.warning("issuer", line, found, "set listen.bundle, or serve copies of both documents there yourself");
    }
    jwt.finish();
    let mut declared: Vec<Consumer> = Vec::new();
    for mut section in root.sections("consumer") {
        let read = read_consumer(&mut section, &declared);
        let kind = read.as_ref().map(|consumer| consumer.kind);
        if let Some(Err(unfit)) = kind.map(|kind| kind.takes_issuer(issuer.as_ref()))
            // A wrong one has been told.
            && issuer.is_some() == is_written
        {
            section.problem("kind", None, unfit.to_string(), "mend [jwt] issuer, or remove the consumer");
        }
        if let (Some(read), Some(life)) = (&read, jwt_keys) {
            check_life(&section, read.keeps_keys_for, life);
        }
        section.finish();
        declared.extend(read);
    }
    Consumers { issuer, declared }
}

/// A key that changes by itself is prepared at half of its life, and signs when a quarter is left at the latest.
fn check_life(section: &Section<'_, '_>, keeps_keys_for: Duration, life: Duration) {
    let least = keeps_keys_for * 4;
    if life < least {
        let [kept, life, least] = [keeps_keys_for, life, least].map(render_duration);
        let found =
            format!("keys are kept for {kept} there, and a JWT key that lives {life} changes too soon for that");
        let remedy =
            format!("write keys.jwt_key_lifetime = \"{least}\" or more, or a shorter keeps_keys_for if you know it");
        section.problem("keeps_keys_for", None, found, remedy);
    }
}

fn read_consumer(section: &mut Section<'_, '_>, others: &[Consumer]) -> Option<Consumer> {
    let kind = section.parsed("kind", KINDS, kind_named).or_else(|| section.missing("kind", &format!("write {KINDS}")));
    let name = section.text("name", "a name that refusals and warnings show");
    let audiences = read_audiences(section, kind, others);
    let line = section.line_of("algorithm");
    let algorithm = section.parsed("algorithm", "\"ES256\" or \"RS256\"", algorithm_named);
    let subject = section.text("subject", "the claim by which it names the bearer, such as \"workload\"");
    let keeps_keys_for = section.duration("keeps_keys_for", KEEPS_KEYS_MAX);
    let kind = kind?;
    let algorithm = algorithm.unwrap_or(kind.usual_algorithm());
    if let Err(unfit) = kind.takes_algorithm(algorithm) {
        section.problem("algorithm", line, unfit.to_string(), "write one of these, or leave it out");
    }
    Some(Consumer {
        name: name.unwrap_or_else(|| kind.as_str().to_owned()),
        kind,
        audiences,
        algorithm,
        subject: subject.unwrap_or_else(|| "sub".to_owned()),
        keeps_keys_for: keeps_keys_for.unwrap_or(kind.keeps_keys_for()),
    })
}

fn kind_named(text: &str) -> Result<ConsumerKind, &'static str> {
    match ConsumerKind::named(text) {
        Some(ConsumerKind::Okta) => Err("its client assertions have its client's id for iss and sub"),
        Some(kind) => Ok(kind),
        None => Err("no consumer"),
    }
}

fn algorithm_named(text: &str) -> Result<JwsAlgorithm, &'static str> {
    match JwsAlgorithm::named(text) {
        Some(algorithm @ (JwsAlgorithm::Es256 | JwsAlgorithm::Rs256)) => Ok(algorithm),
        _ => Err("nothing that we sign by"),
    }
}

/// A token's audience tells whom it is for, so no two share one.
fn read_audiences(section: &mut Section<'_, '_>, kind: Option<ConsumerKind>, others: &[Consumer]) -> Vec<String> {
    let line = section.line_of("audiences");
    let would_do = "an audience, such as \"https://vault.corp.example\"";
    let read =
        section.list("audiences", would_do, |text| if text.is_empty() { Err("empty") } else { Ok(text.to_owned()) });
    let usual = kind.and_then(ConsumerKind::usual_audience).map(|audience| vec![audience.to_owned()]);
    let audiences = read.or(usual).unwrap_or_default();
    if audiences.is_empty() && line.is_none() {
        section.missing::<()>("audiences", "write the audience that its tokens have, as rules grant it");
    }
    let is_taken = |audience: &&String| others.iter().any(|other| other.audiences.contains(audience));
    if let Some(taken) = audiences.iter().find(is_taken) {
        let found = format!("\"{taken}\", which another consumer has already");
        section.problem(
            "audiences",
            line,
            found,
            "give each consumer audiences of its own, by which tokens are told apart",
        );
    }
    audiences
}

#[cfg(test)]
mod tests {
    use super::super::reader::Reader;
    use super::*;
    use std::path::Path;

    const ISSUER: &str = "[jwt]\nissuer = \"https://ci.example.org\"\n";

    /// What is read, with the keys of its warnings; or the problems as "line key".
    fn read(text: &str, bundle: &[SocketAddr]) -> Result<(Consumers, Vec<String>), Vec<String>> {
        let reader = Reader::new(Path::new("server.toml"), text);
        let mut root = reader.document();
        let consumers = read_consumers(&mut root, (bundle, Some(Duration::from_secs(20 * 86_400))));
        root.finish();
        let (problems, warnings) = reader.into_found();
        let told = |all: Vec<super::super::Problem>| {
            all.iter().map(|p| format!("{} {}", p.line.unwrap_or(0), p.key)).collect::<Vec<_>>()
        };
        if problems.is_empty() { Ok((consumers, told(warnings))) } else { Err(told(problems)) }
    }

    fn loopback() -> [SocketAddr; 1] {
        ["127.0.0.1:8444".parse().unwrap()]
    }

    #[test]
    fn consumers_have_what_goes_without_saying_for_their_kind() {
        let text = format!(
            "{ISSUER}[[consumer]]\nkind = \"aws\"\n[[consumer]]\nkind = \"entra\"\nname = \"azure\"\n\
             [[consumer]]\nkind = \"google\"\naudiences = \"g\"\nalgorithm = \"RS256\"\nsubject = \"workload\"\nkeeps_keys_for = \"2h\""
        );
        let (consumers, warnings) = read(&text, &loopback()).unwrap();
        let told: Vec<_> = consumers
            .declared
            .iter()
            .map(|one| (&*one.name, &*one.audiences[0], one.algorithm.as_str(), &*one.subject))
            .collect();
        assert_eq!(
            told,
            [
                ("aws", "sts.amazonaws.com", "ES256", "sub"),
                ("azure", "api://AzureADTokenExchange", "RS256", "sub"),
                ("google", "g", "RS256", "workload"),
            ]
        );
        assert_eq!(consumers.keep_keys_for(), Duration::from_secs(86_400));
        assert_eq!(warnings, [""; 0]);
        assert_eq!(read(ISSUER, &[]).unwrap().1, ["2 jwt.issuer"]);
        assert_eq!(read("", &[]).unwrap(), (Consumers::default(), Vec::new()));
    }

    #[test]
    fn an_issuer_that_a_consumer_could_not_take_does_not_load() {
        let aws = "[[consumer]]\nkind = \"aws\"\n";
        for (text, problem) in [
            (aws.to_owned(), "1 consumer[0].kind"),
            (format!("[jwt]\nissuer = \"https://ci.example.org:8444\"\n{aws}"), "3 consumer[0].kind"),
            (format!("[jwt]\nissuer = \"https://ci.example.org/{}\"\n{aws}", "a".repeat(240)), "3 consumer[0].kind"),
            (format!("[jwt]\nissuer = \"https://ci.example.org/\"\n{aws}"), "2 jwt.issuer"),
            (format!("{ISSUER}[[consumer]]\nkind = \"okta\"\naudiences = \"a\""), "4 consumer[0].kind"),
            (format!("{ISSUER}[[consumer]]\nkind = \"vault\""), "3 consumer[0].audiences"),
            (format!("{ISSUER}[[consumer]]\nkind = \"entra\"\nalgorithm = \"ES256\""), "5 consumer[0].algorithm"),
            (format!("{ISSUER}[[consumer]]\nkind = \"aws\"\nalgorithm = \"PS256\""), "5 consumer[0].algorithm"),
            (format!("{ISSUER}{aws}{aws}"), "5 consumer[1].audiences"),
            (format!("{ISSUER}{aws}keeps_keys_for = \"6d\""), "3 consumer[0].keeps_keys_for"),
            (format!("{ISSUER}{aws}{aws}audiences = \"sts.amazonaws.com\""), "7 consumer[1].audiences"),
        ] {
            assert_eq!(read(&text, &loopback()), Err(vec![problem.to_owned()]), "{text}");
        }
        let vault =
            "[jwt]\nissuer = \"https://ci.example.org:8444\"\n[[consumer]]\nkind = \"vault\"\naudiences = \"v\"";
        assert!(read(vault, &loopback()).is_ok());
    }
}
