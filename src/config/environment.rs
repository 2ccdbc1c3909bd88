//! The process's environment behind a trait, so that tests need none.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Variables by name.
pub trait Environment: Debug + Send + Sync {
    /// What a variable holds; none when it is unset, empty or not text.
    fn value(&self, name: &str) -> Option<String>;
}

/// The environment this process was started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn value(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

/// An environment made by hand.
#[derive(Clone, Debug, Default)]
pub struct MapEnvironment(pub BTreeMap<String, String>);

impl Environment for MapEnvironment {
    fn value(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }
}
