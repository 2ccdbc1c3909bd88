//! How many cases a property tries: each says how many of its own, and `PROPTEST_CASES` makes more or fewer of them all.

use proptest::prelude::ProptestConfig;

/// Cases of a property where nobody says otherwise.
const CASES_UNSAID: u32 = 256;
/// However many are asked for, no property takes longer than so many times its usual time: some are a minute's work.
const TIMES_MAX: u32 = 16;

/// So many, in proportion to what was asked of all.
pub(crate) fn in_proportion(cases: u64) -> u64 {
    let asked = ProptestConfig::default().cases.min(CASES_UNSAID * TIMES_MAX);
    cases * u64::from(asked) / u64::from(CASES_UNSAID)
}

/// Tries so many in proportion, at least one, and keeps no file of what failed.
pub(crate) fn trying(cases: u32) -> ProptestConfig {
    let cases = u32::try_from(in_proportion(cases.into())).unwrap().max(1);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
