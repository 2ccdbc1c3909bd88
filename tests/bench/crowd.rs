//! What an exchange costs beside a hundred thousand live sessions, by the real server and its own allocator; takes minutes.
//!
//! Two servers are measured in turns, one with the crowd and one without, in windows so short that what disturbs the machine
//! disturbs both. A window in which the server writes its state or sweeps stands out, and not in the median; the whole
//! cost is told besides.

use crate::exchange::Scene;
use crate::{print, print_ratios};
use std::time::Duration;

/// So many live at once; `LANYARD_LIVE_SESSIONS` says otherwise.
const SESSIONS: u32 = 100_000;
/// So many are opened before the next are made.
const FILLED_AT_ONCE: u32 = 5000;
/// The server without a crowd is a new one so often: what is measured there must not become a crowd.
const NEW_SERVERS: u32 = 3;
/// With each of those; together an odd number, so that the median is one of them.
const WINDOWS: u32 = 7;
/// A window of half a second: some fifty ticks of the kernel's count of processor time.
const EXCHANGES: u32 = 2000;

/// `crowded_by_alone`, window by window, and `crowded_by_alone_in_all`.
pub(crate) fn measure() {
    let sessions = std::env::var("LANYARD_LIVE_SESSIONS").map_or(SESSIONS, |text| text.parse().unwrap());
    let crowded = Scene::new();
    for filled in (0..sessions).step_by(usize::try_from(FILLED_AT_ONCE).unwrap()) {
        eprintln!("{filled} of {sessions} sessions");
        crowded.fill(FILLED_AT_ONCE);
    }
    let (mut ratios, mut in_all) = (Vec::new(), [Duration::ZERO; 2]);
    for server in 1..=NEW_SERVERS {
        eprintln!("server {server} of {NEW_SERVERS} without a crowd");
        let alone = Scene::new();
        for window in 0..WINDOWS {
            let costs = in_turn([&crowded, &alone], window % 2 == 0);
            ratios.push(costs[0].as_secs_f64() / costs[1].as_secs_f64());
            in_all = [in_all[0] + costs[0], in_all[1] + costs[1]];
        }
    }
    print_ratios("crowded_by_alone", ratios);
    print("crowded_by_alone_in_all", in_all[0].as_secs_f64() / in_all[1].as_secs_f64(), "ratio", None);
}

/// What an exchange costs each; who is last in one window is first in the next.
fn in_turn(scenes: [&Scene; 2], forwards: bool) -> [Duration; 2] {
    let cost = |scene: &Scene| scene.window(EXCHANGES).0;
    if forwards {
        return scenes.map(cost);
    }
    let [first, second] = scenes;
    let second = cost(second);
    [cost(first), second]
}
