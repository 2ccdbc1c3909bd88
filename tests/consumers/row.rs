//! A consumer's row: what was found when an identity ended, when CRLs were odd, and when an SVID ran out.

use crate::authority::{Authority, Crls, Files};
use crate::client::Svid;
use crate::consumer::{AGAIN_AFTER, Consumer, Learns, Sessions};
use crate::page;
use crate::trial::{Left, Trial};
use crate::world::World;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

const HOUR: Duration = Duration::from_secs(3600);
/// The first lifetime that is tried where an SVID has to run out; doubled until there was time enough to use it.
const BRIEF: Duration = Duration::from_secs(4);
/// From GitLab's word to the service's file.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

/// Tries all of it, and holds what was found against the documentation's table.
pub(crate) fn hold(consumer: &dyn Consumer) {
    page::hold_row(consumer.name(), &[ended(consumer), with_odd_crls(consumer), run_out(consumer)].concat());
}

/// A job is over, GitLab says so to the server, and the service's agent writes a CRL that names its SVID.
fn ended(consumer: &dyn Consumer) -> Vec<String> {
    let world = World::start(HOUR);
    let service = world.agent("service", &world.job(900, "900"), &[]);
    let [over, other] = [(1, "574"), (2, "575")].map(|(number, pipeline)| world.job(number, pipeline));
    let [svid, in_good_standing] = [&over, &other].map(|job| world.svid(job));
    let mut trial = Trial::begin(consumer, &service.files, Sessions::AsItComes);
    trial.lets_in(&in_good_standing);
    let left = Left::behind(&trial, &svid);
    world.tell_the_end_of(&over);
    wait_until_named(&service.files, &svid);
    let learns = trial.learns_of_the_end_of(&svid);
    trial.lets_in(&in_good_standing);
    let [open, resumed] = left.fates(&trial);
    if consumer.learns() == Learns::Never {
        trial.restart();
        trial.lets_in(&svid);
    }
    vec![learns.to_owned(), open.to_string(), resumed.to_string()]
}

/// Until the CRLs in an agent's files name an SVID.
fn wait_until_named(files: &Path, svid: &Svid) {
    let deadline = Instant::now() + TOLD_WITHIN;
    while !svid.is_named_in(&fs::read(files.join("svid_crl.pem")).unwrap()) {
        assert!(Instant::now() < deadline, "no CRL that names the ended SVID within {TOLD_WITHIN:?}");
        thread::sleep(AGAIN_AFTER);
    }
}

/// Nobody comes back to a session where the page's lines switch that off; and what CRLs that a server of ours never writes
/// do to somebody who has done nothing.
fn with_odd_crls(consumer: &dyn Consumer) -> Vec<String> {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let mut trial = Trial::begin(consumer, files.folder(), Sessions::Off);
    let (svid, _) = authority.issue("other", HOUR);
    for client in trial.clients(&svid) {
        trial.visit_with(&client).unwrap();
        thread::sleep(consumer.sessions_last());
        let again = trial.visit_with(&client).unwrap();
        assert!(!again.is_resumed(), "{}: sessions are switched off", consumer.name());
    }
    let mut verdict = |crls| {
        files.publish(&authority, crls);
        trial.restart();
        if trial.visit(&svid).is_ok() { "lets in" } else { "**refuses everybody**" }.to_owned()
    };
    vec![verdict(Crls::OfLeavesOnly), verdict(Crls::Stale)]
}

/// An SVID runs out, and nobody says anything.
fn run_out(consumer: &dyn Consumer) -> Vec<String> {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let trial = Trial::begin(consumer, files.folder(), Sessions::AsItComes);
    let mut lifetime = BRIEF;
    let (svid, not_after, left) = loop {
        let (svid, not_after) = authority.issue("brief", lifetime);
        let left = Left::behind(&trial, &svid);
        if OffsetDateTime::now_utc() < not_after {
            break (svid, not_after, left);
        }
        lifetime *= 2;
    };
    // Certificates and clocks of this kind count whole seconds.
    let wait = not_after + Duration::from_secs(2) - OffsetDateTime::now_utc();
    thread::sleep(wait.try_into().unwrap());
    trial.refuses(&svid);
    left.fates(&trial).map(|fate| fate.to_string()).to_vec()
}
