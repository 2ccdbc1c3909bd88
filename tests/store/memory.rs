//! Memory follows what is kept, not what ever was. Measured in a process of its own: other tests have memory too.

use super::*;
use crate::alone::{anonymous_kib, runs_alone};
use lanyard::crypto::Digest;

const NAME: &str = "memory::keys_that_come_and_go_leave_no_memory_behind";
/// Keys that come at once, about as large as sessions.
const TOGETHER: u32 = 50;
const VALUE_BYTES: usize = 1700;
/// For so many rounds a key is kept; by then the store is as full as it will be.
const KEPT_FOR: u32 = 40;
const ROUNDS: u32 = 400;
/// What the allocator may do differently. All keys together are ten times as much.
const SLACK_KIB: u64 = 6 * 1024;

#[test]
fn keys_that_come_and_go_leave_no_memory_behind() {
    if runs_alone(NAME) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(come_and_go());
    }
}

async fn come_and_go() {
    let place = Place::new(IndexKind::Sled);
    let store = place.open();
    let value = format!(r#"{{"v":1,"claims":"{}"}}"#, "c".repeat(VALUE_BYTES));
    let keys = |round: u32| (0..TOGETHER).map(move |n| Digest::of(format!("{round} {n}").as_bytes()).to_string());
    let mut most = [0; 2];
    for round in 0..ROUNDS {
        let gone = round.checked_sub(KEPT_FOR).into_iter().flat_map(keys).map(|key| delete(&key));
        write(&store, keys(round).map(|key| put(&key, &value)).chain(gone).collect()).await;
        let half = &mut most[usize::from(round >= ROUNDS / 2)];
        *half = anonymous_kib("self").max(*half);
    }
    assert_eq!(store.list("").unwrap().len(), usize::try_from(KEPT_FOR * TOGETHER).unwrap());
    assert!(most[1] <= most[0] + SLACK_KIB, "{} KiB in the first half, {} in the second", most[0], most[1]);
}
