//! The bodies of `tests/hostile`, each with a fuzzer. How they are built and run: `tests/fuzz.sh`.

#[path = "../hostile/bodies/mod.rs"]
pub mod bodies;

use bodies::Seed;
use std::path::Path;
use std::{fs, panic, thread};

/// Where the fuzzer shall put the valid documents before it begins.
const SEEDS_VARIABLE: &str = "LANYARD_FUZZ_SEEDS";

/// A fuzzer of one body.
#[macro_export]
macro_rules! fuzzer {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::begin(&$crate::bodies::$name::seeds()),
            |bytes: &[u8]| {
                $crate::bodies::$name::body(bytes);
            }
        );
    };
}

/// Writes the seeds, and forgives the one panic that the program expects.
pub fn begin(seeds: &[Seed]) {
    if let Ok(folder) = std::env::var(SEEDS_VARIABLE) {
        for seed in seeds {
            fs::write(Path::new(&folder).join(&seed.name), &seed.bytes).expect("seeds can be written");
        }
    }
    // sled panics on some damage; the thread that opens it is there to be broken by that.
    let ends_all = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        if !matches!(thread::current().name(), Some(name) if name == "index-open" || name.starts_with("sled")) {
            ends_all(what);
        }
    }));
}
