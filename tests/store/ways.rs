//! Members that are silent, and ways that break off: what is asked goes another way, soon, and is done once.
#![expect(clippy::disallowed_methods, reason = "a real etcd needs real time")]

use super::*;
use crate::etcd::Etcd;
use crate::mute::Way;
use lanyard::clock::Clock;
use lanyard::store::{Etcd as Connected, Replica};
use lanyard::wire::etcd_channel;
use std::time::Instant;

/// Two quarters of a second until the third member is asked, and what a busy machine adds; without that it takes a second for
/// each that is silent.
const TWO_ARE_SILENT: Duration = Duration::from_millis(1500);
/// A second more until a watch is noticed that brings nothing: a write waits until it is shown.
const AND_A_WATCH: Duration = Duration::from_millis(2500);

/// Other work of the machine may hold up one of them.
const ROUNDS: u32 = 3;

/// A replica that knows its etcd by these ways.
fn open(place: &Place, ways: &[&Way]) -> Arc<Replica> {
    let ports: Vec<_> = ways.iter().map(|way| way.port).collect();
    let channels =
        Box::new(move || ports.iter().map(|port| etcd_channel(("127.0.0.1", *port), None).unwrap()).collect());
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&place.clock);
    let journal = place.open();
    // Each process has a name of its own.
    let process = place.files("jsonl").iter().map(|file| file.metadata().unwrap().len()).sum::<u64>().to_string();
    let etcd = Connected::connect(Etcd::settings("test/", "a"), &process, (channels, Arc::clone(&clock))).unwrap();
    Replica::open(etcd, journal, clock).unwrap()
}

async fn write(replica: &Replica, key: &str) {
    done(replica.commit(commit(vec![absent(key)], vec![put(key, "1")])).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_silent_members_of_three_are_gone_past_soon_and_a_write_is_done_once() {
    let (etcd, place) = (Etcd::start(), Place::new(IndexKind::Memory));
    let ways = [Way::to(etcd.port).await, Way::to(etcd.port).await, Way::to(etcd.port).await];
    // Whichever is asked first, and for what.
    for (silent, reads) in [([0, 1], true), ([0, 1], false), ([1, 2], false), ([2, 0], false)] {
        let in_time = one_in_time((&etcd, &place, &ways), silent, reads).await;
        let (took, then) = in_time.unwrap_or_else(|| panic!("too slow with {silent:?} silent"));
        println!("with {silent:?} silent: {took:?}, and {then:?} to write");
    }
}

/// The first round that is as fast as promised.
async fn one_in_time(
    scene: (&Etcd, &Place, &[Way; 3]),
    silent: [usize; 2],
    reads: bool,
) -> Option<(Duration, Duration)> {
    for round in 0..ROUNDS {
        let (took, then) = gone_past(scene, silent, reads, round).await;
        if took < TWO_ARE_SILENT && then < AND_A_WATCH {
            return Some((took, then));
        }
    }
    None
}

/// How long something asked, and then a write, take while those members are silent.
async fn gone_past(
    (etcd, place, ways): (&Etcd, &Place, &[Way; 3]),
    silent: [usize; 2],
    reads: bool,
    round: u32,
) -> (Duration, Duration) {
    let replica = open(place, &[&ways[0], &ways[1], &ways[2]]);
    let [before, after] = ["before", "after"].map(|when| format!("{when}/{silent:?}/{reads}/{round}"));
    write(&replica, &before).await;
    for one in silent {
        ways[one].mute();
    }
    let asked = Instant::now();
    if reads {
        replica.caught_up().await.unwrap();
    } else {
        done(replica.commit(commit(vec![Condition::Present(before)], vec![])).await);
    }
    let took = asked.elapsed();
    let asked = Instant::now();
    write(&replica, &after).await;
    let then = asked.elapsed();
    let held = etcd.ctl(&["get", &format!("test/{after}"), "--write-out=json"]);
    assert!(held.contains(r#""version":1,"#), "{held}");
    replica.close();
    for one in silent {
        ways[one].open_anew().await;
    }
    (took, then)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_has_gone_silent_is_noticed_within_a_second() {
    let (etcd, here, there) = (Etcd::start(), Place::new(IndexKind::Memory), Place::new(IndexKind::Memory));
    let ways = [Way::to(etcd.port).await, Way::to(etcd.port).await];
    let replica = open(&here, &[&ways[0], &ways[1]]);
    write(&replica, "before").await;
    let (clock, channels): (Arc<dyn Clock>, _) = (Arc::<ManualClock>::clone(&there.clock), etcd.channels());
    let other = Connected::connect(Etcd::settings("test/", "b"), "1", (channels, Arc::clone(&clock))).unwrap();
    let other = Replica::open(other, there.open(), clock).unwrap();
    write(&other, "known").await;
    ways[0].mute();
    write(&other, "after").await;
    let written = Instant::now();
    while replica.read("after").unwrap().is_none() {
        assert!(written.elapsed() < Duration::from_millis(2500), "still not shown");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("shown after {:?}", written.elapsed());
    replica.close();
    other.close();
}

/// etcd says so to whoever pings too often for it, and hangs up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_etcd_ends_for_its_pings_costs_no_write() {
    let (etcd, place) = (Etcd::start(), Place::new(IndexKind::Memory));
    let way = Way::to(etcd.port).await;
    let replica = open(&place, &[&way]);
    write(&replica, "before").await;
    for round in 0..20 {
        let key = format!("k/{round}");
        // One is on its way, the other comes when the connection is gone.
        way.reproach();
        write(&replica, &key).await;
        write(&replica, &format!("{key}/more")).await;
        let held = etcd.ctl(&["get", &format!("test/{key}"), "--write-out=json"]);
        assert!(held.contains(r#""version":1,"#), "{held}");
    }
    assert!(way.reproached() >= 20, "{} connections were ended", way.reproached());
    replica.close();
}
