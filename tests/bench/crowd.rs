//! What an exchange costs beside a hundred thousand live sessions, by the real server and its own allocator; takes minutes.

use crate::exchange::{EXCHANGES, Scene};
use crate::floor::Floor;
use crate::{Pair, print, print_median};

/// So many live at once; `LANYARD_LIVE_SESSIONS` says otherwise.
const SESSIONS: u32 = 100_000;
/// Odd, so that the median is one of them; few, for the first ones must not be a crowd themselves.
const PAIRS: usize = 3;

/// `exchange_alone`, `exchange_crowded` and by how much the second is more.
pub(crate) fn measure(floor: &Floor) {
    let sessions = std::env::var("LANYARD_LIVE_SESSIONS").map_or(SESSIONS, |text| text.parse().unwrap());
    let scene = Scene::new();
    let pairs = || -> Vec<Pair> { (0..PAIRS).map(|_| scene.pair(floor).0).collect() };
    let alone = print_median("exchange_alone", pairs().into_iter());
    for filled in (0..sessions).step_by(usize::try_from(EXCHANGES).unwrap()) {
        eprintln!("{filled} of {sessions} sessions");
        scene.fill(EXCHANGES);
    }
    let crowded = print_median("exchange_crowded", pairs().into_iter());
    print("crowded_by_alone", crowded.ratio() / alone.ratio(), "ratio", None);
}
