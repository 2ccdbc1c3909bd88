//! What `tests/run` installs and names.

/// A program, or a list of places; without it nothing is shown, so the test fails.
#[expect(clippy::disallowed_methods, reason = "where the programs are is the test run's own word, no setting")]
pub(crate) fn installed(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_unset| panic!("`tests/run` installs it and names it in {variable}"))
}
