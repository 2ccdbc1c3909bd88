//! A system that can be asked, and which facts this version can ask for at all.

use crate::policy::Answer;
use crate::token::Claims;
use std::fmt::Debug;
use std::pin::Pin;

/// An answer to come.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// A system that knows something of jobs.
pub trait FactSource: Debug + Send + Sync + 'static {
    /// What it says of one of its facts. Whoever asks waits no longer than the facts' deadline, and drops the question then.
    fn ask<'a>(&'a self, fact: &'static str, claims: &'a Claims) -> Asking<'a>;
}

/// The facts that have a source, each with what an issuer's configuration must hold for it.
pub const SOURCES: [(&str, &str); 1] = [("job.state", "an [issuer.api] with a token_file")];
