//! Where the tokens come from that a load uses up: each opens one session, once.

use crate::cli::failure::{WrongUsage, unreadable};
use crate::clock::{Clock as _, SystemClock};
use crate::crypto::Random;
use crate::dev::{DevFolder, Mint};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What can be typed. There is no default: whoever puts load on a server says whose jobs it pretends.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Tokens {
    /// A file of unused tokens of your issuer, one a line
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// The folder of a `lanyard dev` run, whose stand-in GitLab gives as many as are needed
    #[arg(long, value_name = "DIR")]
    dev_dir: Option<PathBuf>,
}

/// What is there, taken from the front.
#[derive(Debug)]
pub(super) struct Supply<'a> {
    tokens: &'a Tokens,
    taken: usize,
}

impl Tokens {
    /// All unused.
    pub(super) const fn supply(&self) -> Supply<'_> {
        Supply { tokens: self, taken: 0 }
    }
}

impl Supply<'_> {
    /// The next so many, or an error that says how many there are.
    pub(super) fn take(&mut self, count: usize) -> anyhow::Result<Vec<String>> {
        let taken = self.taken;
        self.taken = taken.saturating_add(count);
        if let Some(dir) = &self.tokens.dev_dir {
            let (folder, random) = (DevFolder::at(dir), Random::system());
            let mint = Mint::of(&folder, SystemClock.now())?;
            return (0..count).map(|_| Ok(mint.token(&[], &random, SystemClock.now())?)).collect();
        }
        let file = self.tokens.tokens_file.as_deref();
        let file = file.ok_or_else(|| WrongUsage::new("name the tokens: --tokens-file FILE or --dev-dir DIR"))?;
        let text = fs::read_to_string(file).map_err(unreadable(file))?;
        refuse_twins(file, &text)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let next: Vec<_> = lines.skip(taken).take(count).map(str::to_owned).collect();
        if next.len() < count {
            let (there, file) = (taken.saturating_add(next.len()), file.display());
            let what = format!("{file} has {there} tokens, and each load takes {count}: give more, or lower --count");
            return Err(WrongUsage::new(what).into());
        }
        Ok(next)
    }
}

/// A token opens one session: the second of two that are equal would only count as a refusal.
fn refuse_twins(file: &Path, text: &str) -> Result<(), WrongUsage> {
    let mut seen = BTreeMap::new();
    for (number, line) in (1_usize..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty()) {
        if let Some(first) = seen.insert(line, number) {
            let file = file.display();
            let what = format!("{file} has the same token on lines {first} and {number}: each opens one session, once");
            return Err(WrongUsage::new(what));
        }
    }
    Ok(())
}
