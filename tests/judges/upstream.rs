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

/// From a company's root to an identity, with the very lines of the manual; every configuration it shows loads.
#[tokio::test]
async fn the_manual_s_chapter_on_an_authority_above_ours_is_what_one_can_type_and_write() {
    let chapter = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/upstream.md"));
    let blocks = |kind: &str| {
        let fence = format!("```{kind}\n");
        let all = chapter.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
        all.collect::<Vec<_>>()
    };
    let made = Hierarchy::new();
    made.root("corp-root", P256, SOUND);
    let (folder, program) = (made.folder(), std::path::Path::new(env!("CARGO_BIN_EXE_lanyard")).parent().unwrap());
    fs::write(folder.join("policy.toml"), POLICY).unwrap();
    fs::write(folder.join("vault-token"), "hvs.token").unwrap();
    fs::set_permissions(folder.join("vault-token"), fs::Permissions::from_mode(0o600)).unwrap();
    let rest = "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n[[issuer]]\n\
                name = \"corp\"\nurl = \"https://gitlab.test\"\naudience = \"https://lanyard.test\"\n";
    let run = |script: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(folder).args(["-ec", &format!("PATH={}:$PATH; {script}", program.display())]);
        let ran = shell.output().unwrap();
        assert!(ran.status.success(), "{script}: {ran:?}");
    };
    let shown = blocks("toml");
    fs::write(folder.join("server.toml"), format!("{rest}{}", shown[0])).unwrap();
    run(&blocks("sh")[0]);
    for settings in &shown {
        fs::write(folder.join("server.toml"), format!("{rest}{settings}")).unwrap();
        run("lanyard config check server.toml");
    }
    let [role] = blocks("yaml").try_into().unwrap();
    for needed in ["certificaterequests", "create", "get", "watch", "delete"] {
        assert!(role.contains(needed), "{needed}");
    }
    let place = folder.display().to_string();
    let absolute = |name: &str| format!("\"{place}/{name}\"");
    let here = ["upstream-roots.pem", "upstream.pem", "upstream.key"];
    let disk = here.iter().fold(shown[0].clone(), |text, name| text.replace(&format!("\"{name}\""), &absolute(name)));
    let line: &'static str = Box::leak(disk.into_boxed_str());
    let harness = Harness::beginning(SystemClock.now(), (POLICY, "memory", line)).await;
    let issued = harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap();
    assert_eq!(chain(&issued).len(), 3);
}
