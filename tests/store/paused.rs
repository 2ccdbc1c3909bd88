//! A replica whose process was stopped for a while and goes on.
#![expect(clippy::disallowed_methods, reason = "a real etcd needs real time")]

use super::shared::{Member, all_are_known, another_process, until};
use super::*;
use crate::etcd::Etcd;
use lanyard::clock::{Clock, Wait};
use lanyard::store::{Etcd as Connected, Replica};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use time::OffsetDateTime;

/// Longer than it takes until what a replica knows counts as old, and shorter than its lease lives.
const STOPPED_FOR: Duration = Duration::from_millis(2500);

/// Whoever looks at it while it stands is stopped, as by SIGSTOP: the thread that follows etcd does so all the time.
#[derive(Debug)]
struct Stopping {
    clock: Arc<ManualClock>,
    stops: Mutex<bool>,
    goes_on: Condvar,
    has_stopped: AtomicBool,
}

impl Stopping {
    fn stop(&self) {
        *self.stops.lock().unwrap() = true;
    }

    fn go_on(&self) {
        *self.stops.lock().unwrap() = false;
        self.goes_on.notify_all();
    }
}

impl Clock for Stopping {
    fn now(&self) -> OffsetDateTime {
        let stops = |stops: &mut bool| {
            self.has_stopped.fetch_or(*stops, Ordering::Relaxed);
            *stops
        };
        drop(self.goes_on.wait_while(self.stops.lock().unwrap(), stops).unwrap());
        self.clock.now()
    }

    fn uptime(&self) -> Duration {
        self.clock.uptime()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn wait_until(&self, at: OffsetDateTime) -> Wait {
        self.clock.wait_until(at)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_replica_that_was_stopped_is_decided_after_it_has_heard_what_others_did_meanwhile() {
    let (etcd, a, b) = (Etcd::start(), Member::named("a"), Member::named("b"));
    let (clock, stops, goes_on) = (Arc::clone(&a.place.clock), Mutex::default(), Condvar::new());
    let stopping = Arc::new(Stopping { clock, stops, goes_on, has_stopped: AtomicBool::new(false) });
    let seen: Arc<dyn Clock> = Arc::<Stopping>::clone(&stopping);
    let connected = Connected::connect(Etcd::settings("test/", "a"), &another_process(), (etcd.channels(), seen));
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&a.place.clock);
    let at_a = Replica::open(connected.unwrap(), a.place.open(), clock).unwrap();
    let at_b = b.start(etcd.port);
    done(at_a.commit(commit(vec![], vec![put("before", "1")])).await);
    done(at_b.write("known", "1").await);
    all_are_known(&etcd, 2).await;
    // Whoever hears of a ban closes the jobs that it means.
    let (mut hearing, closes) = (at_a.etcd().hearing(), Arc::clone(&at_a));
    let hears = tokio::spawn(async move {
        while hearing.next().await.key != "ban" {}
        done(closes.commit(Commit { room: Room::AnyTime, ..commit(vec![], vec![put("closed", "1")]) }).await);
        hearing.next().await
    });
    stopping.stop();
    until(|| stopping.has_stopped.load(Ordering::Relaxed)).await;
    done(at_b.write("ban", "1").await);
    let admitted = at_a.commit(commit(vec![absent("closed"), absent("session")], vec![put("session", "1")]));
    tokio::time::sleep(STOPPED_FOR).await;
    stopping.go_on();
    let admitted = admitted.await;
    assert!(matches!(&admitted, Ok(Committed::Conflict { key, .. }) if key == "closed"), "{admitted:?}");
    hears.abort();
    at_a.close();
    at_b.stop();
}
