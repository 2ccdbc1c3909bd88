//! A person whom a running server is to forget something of: what `audit erase` and `directory forget` have in common.

use super::admin::AdminArgs;
use super::render;
use clap::builder::NonEmptyStringValueParser;
use serde_json::Value;

/// Whose person, why, and where the server is.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Whom {
    /// The issuer, by its configured name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(super) issuer: String,
    /// Why; stands in the journal, so do not write who
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
    /// One JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) server: AdminArgs,
}

impl Whom {
    /// Says what came of it.
    pub(super) fn tell(&self, facts: &Value, said: &str) -> anyhow::Result<()> {
        render::unless_closed(if self.json { render::json(facts) } else { render::say(said) })
    }
}
