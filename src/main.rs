//! Parse, run, exit code.

use clap::Parser as _;
use lanyard::cli::{Cli, complain};
use lanyard::crypto::install_providers;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A request makes some hundred small things on one thread and drops some on another; the system's allocator spent a
/// tenth of the server's time on that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    install_providers();
    Cli::parse().run().unwrap_or_else(|error| complain(&error))
}
