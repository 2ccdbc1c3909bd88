//! An error with everything that caused it, in one line for a log or an entry; and as much of a foreign text as such a
//! line may repeat.

use std::error::Error;

/// What an error of the transport says whose cause says it better.
const WORDLESS: &str = "transport error";

/// The error and its causes, parted by colons; a cause that its error already repeats is left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let words = cause.to_string();
        if words != WORDLESS && !told.last().is_some_and(|last| last.ends_with(&words)) {
            told.push(words);
        }
        next = cause.source();
    }
    told.join(": ")
}

/// A foreign text, short enough to repeat in a message: some of those become trailers of HTTP/2, others entries.
pub fn quotable(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    text.chars().take(CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("the journal cannot be written")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_chain_names_every_cause_once() {
        assert_eq!(chain(&Outer(io::Error::other("disk full"))), "the journal cannot be written: disk full");
    }
}
