//! SVIDs under authorities that openssl made, before all judges; and authorities that cannot stand above ours.

use super::judge;
use super::made::{Der, Files, roots};
use crate::support::harness::{Agent, Harness, POLICY, chain};
use crate::support::hierarchy::{Hierarchy, P256, SOUND};
use lanyard::authority::{KeyPlan, first_wanted};
use lanyard::clock::{Clock as _, SystemClock};
use lanyard::crypto::Random;
use lanyard::identity::TrustDomain;
use lanyard::telemetry::chain as told;
use lanyard::upstream::Wanted;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use time::OffsetDateTime;

const RSA: &[&str] = &["rsa:2048"];

fn wanted(now: OffsetDateTime) -> Wanted {
    let domain = TrustDomain::parse("ci.example.org").unwrap();
    first_wanted(&domain, &KeyPlan::DEFAULT, (now, &Random::system())).unwrap()
}

/// What stands between leaf and root comes with the leaf, whatever keys the authorities have.
///
/// Shows: X509-16, X509-25.
#[tokio::test]
async fn every_judge_takes_an_svid_under_an_authority_that_openssl_made() {
    for (keys, between) in [(P256, 1), (RSA, 2)] {
        let made = Hierarchy::new();
        made.root("root", keys, SOUND);
        made.below("middle", "root", keys, SOUND);
        made.below("upstream", "middle", keys, &format!("{SOUND}\nauthorityKeyIdentifier=keyid"));
        if between == 1 {
            made.serve("middle", &["middle"], &["root"]);
        } else {
            made.serve("upstream", &["upstream", "middle"], &["root"]);
        }
        let line: &'static str = Box::leak(made.section().into_boxed_str());
        let now = SystemClock.now();
        let harness = Harness::beginning(now, (POLICY, "memory", line)).await;
        let token = harness.issuer.token(harness.now());
        let issued = harness.exchange(&token, &Agent::new()).await.unwrap();
        let shown: Vec<Der> = chain(&issued).into_iter().map(Der::from).collect();
        assert_eq!(shown.len(), 2 + between, "the leaf, our intermediate, and what stands above it but the root");
        let (files, roots) = (Files::new(), roots(&harness));
        assert_eq!(roots.len(), 1);
        let hearings = [files.hearing("whole", &shown, &roots, now), files.hearing("torn", &shown[..2], &roots, now)];
        for judge in judge::all() {
            let verdicts = judge.verify(&hearings);
            assert!(verdicts[0].holds(), "{} refuses {keys:?}, {between}: {:?}", judge.name(), verdicts[0]);
            assert!(!verdicts[1].holds(), "{} needs no chain", judge.name());
        }
    }
}

/// Authorities of all kinds, most of them no good.
fn all_kinds() -> Hierarchy {
    let made = Hierarchy::two_tiers();
    made.root("other", P256, SOUND);
    made.below("leaf", "root", P256, "basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash");
    made.below("mute", "root", P256, "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,cRLSign");
    made.below("soft", "root", P256, "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign");
    made.below("last", "root", P256, &SOUND.replace("CA:TRUE", "CA:TRUE,pathlen:0"));
    made.below("weak", "root", &["rsa:1024"], SOUND);
    made.below("sides", "root", P256, &format!("{SOUND}\nextendedKeyUsage=clientAuth"));
    made.below("nameless", "root", P256, "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign");
    made.below("bound", "root", P256, &format!("{SOUND}\nnameConstraints=critical,permitted;URI:else.example"));
    made.below("forbidden", "root", P256, &format!("{SOUND}\nnameConstraints=critical,excluded;URI:ci.example.org"));
    made.below("fitting", "root", P256, &format!("{SOUND}\nnameConstraints=critical,permitted;URI:ci.example.org"));
    made.root("short", P256, &SOUND.replace("CA:TRUE", "CA:TRUE,pathlen:1"));
    made.below("below-short", "short", P256, SOUND);
    made
}

/// What is wrong with the files, what is said of it, and what would help.
#[test]
fn an_authority_that_cannot_stand_above_ours_is_refused_with_what_would_help() {
    let made = all_kinds();
    let now = SystemClock.now();
    let checked = |at: OffsetDateTime| {
        let fault = made.disk().check(&made.roots(), &wanted(at), at).err();
        fault.map_or_else(String::new, |fault| format!("{}; {}", told(&fault), fault.remedy()))
    };
    for (key, chain, roots, says) in [
        ("upstream", "upstream", "root", ""),
        ("fitting", "fitting", "root", ""),
        ("root", "upstream", "root", "does not belong to the first certificate"),
        ("leaf", "leaf", "root", "does not say CA:TRUE; make it with basicConstraints"),
        ("mute", "mute", "root", "lacks keyCertSign; make it with keyUsage = critical"),
        ("soft", "soft", "root", "its key usage is not critical"),
        ("last", "last", "root", "its path length is 0; make it with a path length of 1"),
        ("weak", "weak", "root", "weak or unknown key"),
        ("sides", "sides", "root", "without serverAuth or clientAuth"),
        ("bound", "bound", "root", "name constraints"),
        ("forbidden", "forbidden", "root", "name constraints"),
        ("below-short", "below-short", "short", "allows fewer authorities below it"),
        (
            "upstream",
            "upstream",
            "other",
            "does not end in a root that is published: certificate 1 was issued by \"O=Corp, CN=root\"; add the root",
        ),
        ("upstream", "upstream", "upstream", "certificate 1 in"),
        ("upstream", "upstream", "mute", "keyCertSign"),
    ] {
        made.serve(key, &[chain], &[roots]);
        let found = checked(now);
        assert!(
            if says.is_empty() { found.is_empty() } else { found.contains(says) },
            "{chain} under {roots}: {found:?}"
        );
    }
    made.serve("upstream", &["upstream"], &["root"]);
    let far = Duration::from_secs(20 * 365 * 86_400);
    assert!(checked(now + far).contains("ended at"), "{}", checked(now + far));
    assert!(checked(now - far).contains("is valid only from"), "{}", checked(now - far));
    fs::set_permissions(made.path("ours.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(checked(now).contains("is open to others"), "{}", checked(now));
    for (file, says) in [
        ("roots.pem", "no certificate in PEM"),
        ("ours.pem", "no certificate in PEM"),
        ("ours.key", "no key that can sign"),
    ] {
        made.serve("upstream", &["upstream"], &["root"]);
        fs::write(made.path(file), "-----BEGIN NOTHING-----\n").unwrap();
        assert!(checked(now).contains(says), "{file}: {}", checked(now));
        fs::remove_file(made.path(file)).unwrap();
        assert!(checked(now).contains("cannot be read"), "{file}: {}", checked(now));
    }
}
