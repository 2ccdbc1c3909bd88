//! What can be typed, and what is wrong with a file.

use super::{create, restore, verify};
use crate::backup::BackupError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Writes the data folder of a running server, or of a stopped one, into one file. The sealing key is not in it
    ///
    /// It is a plain tar: `tar -xf`, then `sha256sum -c SHA256SUMS`. Everything in it is of one record of the journal,
    /// and the server goes on meanwhile.
    Create(create::Args),
    /// Whether a backup is whole: every file's digest, every record of the journal, every checkpoint; with the server's
    /// configuration also whether it says what its server said
    Verify(verify::Args),
    /// Lays a backup down in an empty data folder, for a server to go on from; whole, or not at all
    ///
    /// What the lost server did since the backup is not known. So tokens that it may have seen are refused, and sessions of
    /// before are over: jobs that run start anew.
    Restore(restore::Args),
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Create(args) => Box::pin(create::run(args)).await,
        Action::Verify(args) => Box::pin(verify::run(&args)).await,
        Action::Restore(args) => Box::pin(restore::run(args)).await,
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", file.display())]
pub(super) struct Named {
    file: PathBuf,
    #[source]
    error: BackupError,
}

/// With the file in question in front.
pub(super) fn of(file: &Path) -> impl FnOnce(BackupError) -> Named {
    move |error| Named { file: file.to_owned(), error }
}
