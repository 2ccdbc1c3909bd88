//! The process's log, on standard error, and what makes traces of its work.

use super::traces::Tracing;
use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For a person at a terminal.
    #[default]
    Human,
    /// One JSON object a line, for a machine that collects logs.
    Json,
}

/// What is logged: a level, or a list of `target=level`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFilter(String);

/// The text is no filter.
#[derive(Debug, thiserror::Error)]
#[error("{filter:?} is no log filter; write a level such as \"info\", or \"info,lanyard::token=debug\"")]
pub struct NotALogFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

impl FromStr for LogFilter {
    type Err = NotALogFilter;

    fn from_str(text: &str) -> Result<Self, NotALogFilter> {
        match EnvFilter::try_new(text) {
            Ok(_directives) => Ok(Self(text.to_owned())),
            Err(source) => Err(NotALogFilter { filter: text.to_owned(), source }),
        }
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The process's log; there is one.
#[derive(Clone, Debug)]
pub struct Log {
    /// How its lines look.
    pub format: LogFormat,
    /// What is logged.
    pub filter: LogFilter,
}

/// Somebody installed a log before us.
#[derive(Debug, thiserror::Error)]
#[error("a log is installed already")]
pub struct LogInstalled(#[from] TryInitError);

/// What is logged can be changed by it while the process runs.
#[derive(Clone, Debug)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl Log {
    /// Sends all that is logged to standard error, coloured if that is a terminal; and the spans of our work to where traces
    /// are made, if somewhere.
    ///
    /// # Errors
    /// When a log is installed already.
    pub fn install(&self, traces: Option<&Tracing>) -> Result<LogLevel, LogInstalled> {
        let (filter, handle) = reload::Layer::new(EnvFilter::new(&self.filter.0));
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        let lines = match self.format {
            LogFormat::Human => lines.with_ansi(io::stderr().is_terminal()).with_target(false).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let not_ours = filter_fn(|of| !is_of_our_work(of)).with_max_level_hint(LevelFilter::TRACE);
        let mut layers = vec![lines.with_filter(filter.and(not_ours)).boxed()];
        if let Some(traces) = traces {
            let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer());
            let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
            layers.push(layer.with_filter(filter_fn(is_of_our_work).with_max_level_hint(LevelFilter::TRACE)).boxed());
        }
        tracing_subscriber::registry().with(layers).try_init()?;
        Ok(LogLevel(handle))
    }
}

impl LogLevel {
    /// From now on this is logged. Whoever gave the log up has none to change.
    pub fn set(&self, filter: &LogFilter) {
        let _gone = self.0.reload(EnvFilter::new(&filter.0)).is_err();
    }
}

/// A span of the road: no log line tells of it, and without traces nobody makes it.
fn is_of_our_work(of: &Metadata<'_>) -> bool {
    of.is_span() && of.target().starts_with("lanyard")
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
