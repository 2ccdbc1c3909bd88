//! The process's log, on standard error.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For a person at a terminal.
    #[default]
    Human,
    /// One JSON object a line, for a machine that collects logs.
    Json,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter's directives make no sense.
    #[error("{filter:?} is no log filter; write a level such as \"info\", or \"info,lanyard::token=debug\"")]
    Filter {
        /// What was given.
        filter: String,
        /// What the library says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody installed a log before us.
    #[error("a log is installed already")]
    Installed(#[from] TryInitError),
}

/// Sends all that is logged to standard error, coloured if that is a terminal. `filter` is a level or a list of
/// `target=level`.
///
/// # Errors
/// See [`LogsError`].
pub fn install(format: LogFormat, filter: &str) -> Result<(), LogsError> {
    let directives =
        EnvFilter::try_new(filter).map_err(|source| LogsError::Filter { filter: filter.to_owned(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(directives).with_writer(io::stderr);
    match format {
        LogFormat::Human => lines.with_ansi(io::stderr().is_terminal()).with_target(false).finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// The text names no format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a log format is \"human\" or \"json\"")]
pub struct NotALogFormat;

impl FromStr for LogFormat {
    type Err = NotALogFormat;

    fn from_str(text: &str) -> Result<Self, NotALogFormat> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(NotALogFormat),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}
