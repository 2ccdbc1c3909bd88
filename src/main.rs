//! Parse, run, exit code.

use clap::Parser as _;
use lanyard::cli::{Cli, complain};
use lanyard::crypto::install_providers;
use std::process::ExitCode;

fn main() -> ExitCode {
    install_providers();
    Cli::parse().run().unwrap_or_else(|error| complain(&error))
}
