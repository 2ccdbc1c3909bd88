//! Where chance comes from: serial numbers, nonces, jitter. Handed in, so that tests can repeat a run.

use super::Digest;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A source of chance: the system's, or for tests one that repeats itself.
#[derive(Clone, Debug)]
pub struct Random(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Seeded { seed: u64, taken: Arc<AtomicU64> },
}

impl Random {
    /// The operating system's generator.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Repeatable: the same seed gives the same bytes. For tests; its clones go on from one another.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded { seed, taken: Arc::default() })
    }

    /// `N` random bytes.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "aws-lc's generator ends the process rather than fail"
    )]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Source::System => aws_lc_rs::rand::fill(&mut bytes).expect("the system's generator does not fail"),
            Source::Seeded { seed, taken } => {
                for chunk in bytes.chunks_mut(32) {
                    let turn = taken.fetch_add(1, Ordering::Relaxed);
                    let block = Digest::of_parts(&[&seed.to_be_bytes(), &turn.to_be_bytes()]);
                    chunk.iter_mut().zip(block.as_bytes()).for_each(|(to, from)| *to = *from);
                }
            }
        }
        bytes
    }

    /// A span between zero and `most`, evenly spread.
    pub fn jitter(&self, most: Duration) -> Duration {
        // A 64-bit fraction of the span; the product fits 128 bits for spans below 584 years.
        let fraction = u128::from(u64::from_be_bytes(self.bytes()));
        let span = u128::from(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX));
        Duration::from_nanos(u64::try_from((fraction * (span + 1)) >> 64).unwrap_or(u64::MAX)).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_run_and_another_seed_does_not() {
        let run = |seed| {
            let random = Random::seeded(seed);
            (random.bytes::<40>(), random.bytes::<40>())
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_ne!(run(1).0, run(1).1);
    }

    #[test]
    fn the_system_does_not_repeat_itself() {
        assert_ne!(Random::system().bytes::<16>(), Random::system().bytes::<16>());
    }

    #[test]
    fn jitter_stays_within_its_span_and_spreads_over_it() {
        let random = Random::seeded(7);
        let most = Duration::from_secs(10);
        let spans: Vec<_> = (0..200).map(|_| random.jitter(most)).collect();
        assert!(spans.iter().all(|span| *span <= most));
        assert!(spans.iter().any(|span| *span < most / 4) && spans.iter().any(|span| *span > most * 3 / 4));
        assert_eq!(random.jitter(Duration::ZERO), Duration::ZERO);
        assert!(random.jitter(Duration::MAX) <= Duration::MAX);
    }
}
