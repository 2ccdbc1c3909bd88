//! Keys are made in two phases: whatever ends in between, nothing is lost and nothing is left of which nobody knows.

use crate::ca::{at_rest, begin, domain, intermediate, judge, obey, order, outlook};
use lanyard::authority::{Looseness, NotNow, OrderError, OrderKind, OrphanDeletion, Rotator, RotatorError};
use lanyard::clock::{Clock, SystemClock};
use lanyard::crypto::{KeyId, PublicKey, Random};
use lanyard::custody::{CustodyError, Label, MemoryPlace, Place, PlaceFault, Places, Waiting};
use lanyard::telemetry::chain;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// Nothing was done.
    Before,
    /// It was done, and nobody hears of it.
    After,
    /// It was done, and the answer never comes.
    Hangs,
}

/// A place with troubles, each of which meets one change or signature.
#[derive(Clone, Debug, Default)]
struct Troubled {
    keys: MemoryPlace,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

impl Troubled {
    fn with(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults);
    }

    fn through<'a, T: Send + 'a>(&'a self, work: Waiting<'a, T>) -> Waiting<'a, T> {
        let (fault, silent) = (self.faults.lock().unwrap().pop_front(), PlaceFault::Silent { within: Duration::ZERO });
        Box::pin(async move {
            match fault {
                None => work.await,
                Some(Fault::Before) => Err(silent),
                Some(Fault::After) => work.await.and(Err(silent)),
                Some(Fault::Hangs) => {
                    drop(work.await);
                    std::future::pending().await
                }
            }
        })
    }
}

impl Place for Troubled {
    fn make<'a>(&'a self, label: &'a Label) -> Waiting<'a, PublicKey> {
        self.through(Box::pin(async { self.keys.make(label).await }))
    }

    fn find<'a>(&'a self, label: &'a Label) -> Waiting<'a, Option<PublicKey>> {
        self.keys.find(label)
    }

    fn sign<'a>(&'a self, label: &'a Label, message: &'a [u8]) -> Waiting<'a, Vec<u8>> {
        self.through(Box::pin(async move { self.keys.sign(label, message).await }))
    }

    fn list(&self) -> Waiting<'_, Vec<String>> {
        self.keys.list()
    }

    fn delete<'a>(&'a self, label: &'a Label) -> Waiting<'a, ()> {
        self.through(Box::pin(async { self.keys.delete(label).await }))
    }
}

/// A folder, a place with troubles, and the places of which it is the one for roots.
fn scene() -> (TempDir, Troubled, Places) {
    let (folder, troubled) = (TempDir::new().unwrap(), Troubled::default());
    let places = Places::default().with("hsm", Arc::new(troubled.clone())).with_roots_in("hsm");
    (folder, troubled, places)
}

async fn names(troubled: &Troubled) -> Vec<String> {
    troubled.keys.list().await.unwrap()
}

/// The only orphan's label, why it is loose, and whether it is there.
async fn orphan(rotator: &Rotator) -> (Label, Option<Looseness>, Option<bool>) {
    let all = rotator.orphans().await;
    assert_eq!(all.orphans.len(), 1, "{all:?}");
    let orphan = all.orphans.into_iter().next().unwrap();
    (orphan.label, orphan.known.map(|known| known.why), orphan.is_there)
}

fn silent(refused: &OrderError) -> bool {
    matches!(refused, OrderError::Failed(RotatorError::Custody(CustodyError { fault: PlaceFault::Silent { .. }, .. })))
}

#[tokio::test]
async fn a_first_start_that_fails_anywhere_is_taken_up_where_it_ended() {
    for faults in [&[Fault::Before][..], &[Fault::After], &[Fault::After, Fault::After, Fault::Before]] {
        let (folder, troubled, places) = scene();
        troubled.with(faults);
        for _fault in faults {
            let said = chain(&begin(folder.path(), &places).await.unwrap_err());
            assert_eq!(said, "the place \"hsm\", where keys are kept: it has not answered for 0 s");
            assert_eq!(at_rest(folder.path()).loose.len(), 1, "it is known what was begun");
        }
        let rotator = begin(folder.path(), &places).await.unwrap();
        assert_eq!(names(&troubled).await.len(), 1, "one key, whatever happened before: {faults:?}");
        assert!(rotator.orphans().await.orphans.is_empty());
        judge(folder.path());
    }
}

#[tokio::test]
async fn a_root_is_prepared_once_however_often_it_was_tried() {
    let (folder, troubled, places) = scene();
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    let before = outlook(&rotator);
    for (fault, is_there) in [(Fault::Before, false), (Fault::After, true), (Fault::After, true)] {
        troubled.with(&[fault]);
        let refused = obey(&mut rotator, OrderKind::Prepare).await.unwrap_err();
        assert!(silent(&refused), "{refused:?}");
        assert_eq!(outlook(&rotator), before, "nothing has changed");
        let (_, why, there) = orphan(&rotator).await;
        assert_eq!((why, there), (Some(Looseness::Begun), Some(is_there)));
    }
    // A crash, while the place was making and before it answered; then another start.
    troubled.with(&[Fault::Hangs]);
    let ordered = obey(&mut rotator, OrderKind::Prepare);
    assert!(tokio::time::timeout(Duration::from_millis(50), ordered).await.is_err());
    drop(rotator);
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    assert_eq!(outlook(&rotator), before);
    let prepared = obey(&mut rotator, OrderKind::Prepare).await.unwrap();
    assert_eq!(names(&troubled).await.len(), 2);
    assert!(rotator.orphans().await.orphans.is_empty());
    obey(&mut rotator, OrderKind::Activate(Some(prepared.key_id))).await.unwrap();
    judge(folder.path());
}

#[tokio::test]
async fn an_orphan_is_adopted_or_deleted_by_order_and_what_is_somebody_s_is_neither() {
    let (folder, troubled, places) = scene();
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    let strange = Label::new(&domain(), "x509-root", 9, &Random::system());
    let public = troubled.keys.make(&strange).await.unwrap();
    assert_eq!(orphan(&rotator).await, (strange.clone(), None, Some(true)), "made in a life that a restore took back");
    let now = SystemClock.now();

    let deletion = |label: &Label| OrphanDeletion { label: label.clone(), uid: 7, say: None };
    let active: Label =
        serde_json::from_value(names(&troubled).await.into_iter().find(|name| *name != strange.to_string()).into())
            .unwrap();
    for refused in [
        rotator.delete_orphan(&deletion(&active)).await.map(drop).unwrap_err(),
        rotator.adopt(&order(OrderKind::Prepare), &active, now).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(refused, OrderError::NoOrphan { .. }), "{refused:?}");
    }
    let adopted = rotator.adopt(&order(OrderKind::Prepare), &strange, now).await.unwrap();
    assert_eq!(adopted.key_id, public.id());
    assert!(rotator.orphans().await.orphans.is_empty());
    let again = rotator.adopt(&order(OrderKind::Prepare), &strange, now).await.unwrap_err();
    assert!(matches!(again, OrderError::NoOrphan { .. }), "{again:?}");

    let other = Label::new(&domain(), "x509-root", 3, &Random::system());
    troubled.keys.make(&other).await.unwrap();
    let refused = rotator.adopt(&order(OrderKind::Prepare), &other, now).await.unwrap_err();
    assert!(matches!(refused, OrderError::NotNow(NotNow::PreparedAlready { .. })), "{refused:?}");
    rotator.delete_orphan(&deletion(&other)).await.unwrap();
    assert!(rotator.orphans().await.orphans.is_empty());
    assert_eq!(names(&troubled).await.len(), 2);
}

#[tokio::test]
async fn a_revoked_key_is_deleted_where_it_lives_or_known_until_it_is() {
    let (folder, troubled, places) = scene();
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    let prepare = async |rotator: &mut Rotator| -> KeyId { obey(rotator, OrderKind::Prepare).await.unwrap().key_id };
    let first = prepare(&mut rotator).await;
    obey(&mut rotator, OrderKind::Revoke(first)).await.unwrap();
    assert_eq!((names(&troubled).await.len(), rotator.orphans().await.orphans.len()), (1, 0));

    let second = prepare(&mut rotator).await;
    troubled.with(&[Fault::Before]);
    obey(&mut rotator, OrderKind::Revoke(second)).await.unwrap();
    drop(rotator);
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    let (label, why, there) = orphan(&rotator).await;
    assert_eq!((why, there), (Some(Looseness::GivenUp), Some(true)));
    let refused = rotator.adopt(&order(OrderKind::Prepare), &label, SystemClock.now()).await.unwrap_err();
    assert!(matches!(refused, OrderError::GivenUp { .. }), "{refused:?}");
    let third = prepare(&mut rotator).await;
    assert_ne!(third, second, "what was revoked is not taken up again, though it had the same number");
    rotator.delete_orphan(&OrphanDeletion { label, uid: 7, say: None }).await.unwrap();
    assert_eq!((names(&troubled).await.len(), rotator.orphans().await.orphans.len()), (2, 0));
}

#[tokio::test]
async fn a_root_that_is_away_stops_new_intermediates_and_nothing_else_and_is_used_when_it_is_back() {
    let (folder, troubled, places) = scene();
    let mut rotator = begin(folder.path(), &places).await.unwrap();
    let before = outlook(&rotator);
    for fault in [Fault::Before, Fault::After] {
        troubled.with(&[fault]);
        assert!(silent(&intermediate(&mut rotator).await.unwrap_err()));
        assert_eq!(outlook(&rotator), before);
    }
    intermediate(&mut rotator).await.unwrap();
    judge(folder.path());
}

#[tokio::test]
async fn a_server_goes_on_without_a_place_that_is_away_and_not_without_its_root() {
    let (folder, troubled, places) = scene();
    drop(begin(folder.path(), &places).await.unwrap());
    // It answers, and has no such key: it was set up anew, or is another.
    let another = Places::default().with("hsm", Arc::new(Troubled::default())).with_roots_in("hsm");
    let refused = begin(folder.path(), &another).await.unwrap_err();
    assert!(matches!(refused, RotatorError::RootMissing(_)), "{refused:?}");
    let said = chain(&refused);
    assert!(said.contains("cannot find its root") && said.contains("must restore it"), "{said}");
    // Nobody has told where it is.
    let said = chain(&begin(folder.path(), &Places::default()).await.unwrap_err());
    assert!(said.contains("write [[keys.place]] for it again"), "{said}");

    // New roots are made in the keyring again; the former one stays where it is, and is used.
    let moved = Places::default().with("hsm", Arc::new(troubled.clone()));
    let mut rotator = begin(folder.path(), &moved).await.unwrap();
    let prepared = obey(&mut rotator, OrderKind::Prepare).await.unwrap().key_id;
    intermediate(&mut rotator).await.unwrap();
    let places: Vec<_> = outlook(&rotator).into_iter().map(|(key, _, place)| (key == prepared, place)).collect();
    assert!(places.contains(&(true, None)) && places.contains(&(false, Some("hsm".to_owned()))), "{places:?}");
    judge(folder.path());
}
