//! Under an authority above ours, whose certificate and key are files: its root changes under running agents, without a
//! restart and without one failed handshake; and it is away for longer than our intermediate can wait.

use super::rotation::{Pair, Traffic, Workload, lanyard};
use crate::support::beside::{Site, TWO_PROFILES, until};
use crate::support::hierarchy::{Hierarchy, P256, SOUND};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// The intermediate's; its successor is asked for at half of it.
const LIFE_MINUTES: u64 = 180;
/// So few that a renewal which a leap of the clock cuts off is begun again before its SVID ends.
const STRIDE: u64 = 2;

async fn site_under(made: &Hierarchy) -> (Site, Pair) {
    let upstream = made.settings();
    let site = Site::open_as(TWO_PROFILES, |settings| {
        settings.upstream = Some(upstream);
        settings.keys.lifetimes.intermediate = Duration::from_secs(LIFE_MINUTES * 60);
    })
    .await;
    let pair = Pair::at(&site, 12).await;
    (site, pair)
}

async fn pass(site: &Site, traffic: &Traffic, minutes: u64) {
    for _ in 0..minutes.div_ceil(STRIDE) {
        traffic.minutes(&site.clock, STRIDE).await;
    }
}

/// Time passes until it is so.
async fn pass_until(site: &Site, traffic: &Traffic, so: impl Fn(&Workload) -> bool) {
    for _ in 0..150 {
        if traffic.both(&so) {
            return;
        }
        traffic.minutes(&site.clock, STRIDE).await;
    }
    panic!("still not so");
}

async fn upstream(site: &Site) -> Value {
    lanyard(site, &["plan"]).await.unwrap()["upstream"].clone()
}

/// Shows: FED-2, FED-3.
#[tokio::test(flavor = "multi_thread")]
async fn no_handshake_fails_while_the_authority_above_ours_moves_to_another_root() {
    let made = Hierarchy::two_tiers();
    made.root("next-root", P256, SOUND);
    made.below("next", "next-root", P256, SOUND);
    let (site, pair) = site_under(&made).await;
    let traffic = &pair.traffic;
    let before = traffic.one.signer();

    // Its operators are ahead of ours: what it signs leads to a root that nobody holds, and is not used.
    made.serve("next", &["next"], &["root"]);
    pass(&site, traffic, LIFE_MINUTES / 2 + 8).await;
    let state = upstream(&site).await;
    assert!(state["fault"].as_str().unwrap().contains("does not end in a root that is published"), "{state}");
    assert!(state["remedy"].as_str().unwrap().contains("roots_file"), "{state}");
    assert!(traffic.both(|workload| workload.signer() == before && workload.roots() == 1));

    // Told of the root, everybody gets it before anything is signed under it.
    made.put("roots.pem", &["root", "next-root"]);
    site.clock.advance(Duration::from_secs(6));
    until(|| traffic.both(|workload| workload.roots() == 2)).await;
    pass(&site, traffic, 32).await;
    assert!(traffic.both(|workload| workload.signer() == before));
    pass_until(&site, traffic, |workload| workload.signer() != before).await;
    let state = upstream(&site).await;
    assert_eq!((&state["failures"], &state["fault"]), (&Value::from(0), &Value::Null), "{state}");

    // The former root goes when nothing hangs on it any more.
    made.put("roots.pem", &["next-root"]);
    site.clock.advance(Duration::from_secs(6));
    pass(&site, traffic, 60).await;
    assert!(traffic.both(|workload| workload.roots() == 2));
    pass_until(&site, traffic, |workload| workload.roots() == 1).await;
    pair.end(100).await;
}

/// Shows: EP-12.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_away_stops_nobody_while_the_intermediate_lasts() {
    let made = Hierarchy::two_tiers();
    let (site, pair) = site_under(&made).await;
    let traffic = &pair.traffic;
    let before = traffic.one.signer();
    fs::rename(made.path("ours.key"), made.path("away.key")).unwrap();
    pass(&site, traffic, LIFE_MINUTES / 2 + 8).await;
    let state = upstream(&site).await;
    assert!(state["fault"].as_str().unwrap().contains("ours.key cannot be read"), "{state}");
    assert!(state["failures"].as_u64().unwrap() > 0 && state["asks_at"].is_string(), "{state}");
    assert_eq!(state["is_alarm"], false, "{state}");
    // Half of what was left, and it becomes an alarm; identities are given out all the same.
    pass(&site, traffic, LIFE_MINUTES / 4).await;
    let state = upstream(&site).await;
    assert_eq!(state["is_alarm"], true, "{state}");
    assert!(traffic.both(|workload| workload.signer() == before));
    fs::rename(made.path("away.key"), made.path("ours.key")).unwrap();
    pass_until(&site, traffic, |workload| workload.signer() != before).await;
    let state = upstream(&site).await;
    assert_eq!((&state["failures"], &state["is_alarm"]), (&Value::from(0), &Value::from(false)), "{state}");
    pair.end(100).await;
}
