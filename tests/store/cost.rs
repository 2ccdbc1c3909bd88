//! What a commit costs; run by hand, optimised: `cargo test --release --test store -- --ignored --nocapture`.

use super::*;
use lanyard::clock::SystemClock;
use std::fs;
use std::time::Instant;

/// As long as an admission's entry and its session usually are.
const ENTRY_BYTES: usize = 700;
const VALUE_BYTES: usize = 500;
/// Linux reports processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of this process so far, in seconds.
fn processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    [11, 12].iter().map(|field| fields[*field].parse::<f64>().unwrap()).sum::<f64>() / TICKS_PER_SECOND
}

#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement speaks, and needs the real clock and real tasks"
)]
async fn measure(kind: IndexKind, callers: u32, hold_micros: u64, commits: u32) {
    let folder = tempfile::tempdir_in(std::env::var("COST_DIR").unwrap_or_else(|_unset| "target".to_owned())).unwrap();
    let mut settings = LocalSettings::new(folder.path().to_owned());
    (settings.index, settings.hold_for) = (kind, Duration::from_micros(hold_micros));
    let store = LocalStore::open(settings, signer(), Arc::new(SystemClock)).unwrap();
    let text = |bytes: usize| raw(&format!(r#"{{"kind":"admit","text":"{}"}}"#, "x".repeat(bytes)));
    let (entry, value) = (text(ENTRY_BYTES), text(VALUE_BYTES));
    let (cpu, wall) = (processor_time(), Instant::now());
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (store, entry, value) = (Arc::clone(&store), entry.clone(), value.clone());
            tokio::spawn(async move {
                for n in 0..commits / callers {
                    let key = format!(
                        "session/{:016x}",
                        (u64::from(n) << 32 | u64::from(caller)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                    );
                    let conditions = vec![absent(&key)];
                    let writes = vec![Write::Put(key, value.clone())];
                    done(
                        store
                            .commit(Commit {
                                room: Room::Common,
                                conditions,
                                writes,
                                entry: entry.clone(),
                                without_quorum: None,
                            })
                            .await,
                    );
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (cpu, wall) = (processor_time() - cpu, wall.elapsed().as_secs_f64());
    let per_commit = |seconds: f64| seconds * 1e6 / f64::from(commits);
    println!(
        "{kind:?} callers {callers} hold {hold_micros} us: {:.1} us CPU a commit, {:.0} commits/s, {:.2} ms each",
        per_commit(cpu),
        f64::from(commits) / wall,
        wall * 1e3 * f64::from(callers) / f64::from(commits),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, no judgement"]
async fn a_commit_costs_little_when_64_wait() {
    for kind in [IndexKind::Memory, IndexKind::Sled] {
        for hold in [0, 100, 200, 300, 500, 1000] {
            measure(kind, 64, hold, 64_000).await;
        }
        measure(kind, 1, 300, 4000).await;
        measure(kind, 2, 300, 8000).await;
        measure(kind, 8, 300, 16_000).await;
    }
}
