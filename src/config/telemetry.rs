//! The section `[telemetry]`: where traces go, and what is logged.

use super::problem::{Problem, read_text};
use super::section::{Reader, Section};
use crate::telemetry::LogFilter;
use http::Uri;
use std::path::Path;

/// What operators hear besides metrics.
#[derive(Clone, Debug, Default)]
pub struct TelemetrySettings {
    /// What is logged; the command line says so where this does not.
    pub log: Option<LogFilter>,
    /// The collector that takes our traces, `http://host:port`; none where nobody does.
    pub otlp_endpoint: Option<String>,
}

/// What a server's file says of its log now, whatever else stands in it.
///
/// # Errors
/// When that is no filter, or the file cannot be read.
pub fn load_log_filter(file: &Path) -> Result<Option<LogFilter>, Vec<Problem>> {
    let text = read_text(file, "name the server's configuration with --config")?;
    let reader = Reader::new(file, &text);
    let settings = read_telemetry(&mut reader.document());
    reader.settled(Some(settings.log))
}

pub(super) fn read_telemetry(root: &mut Section<'_, '_>) -> TelemetrySettings {
    let mut section = root.section("telemetry");
    let log = section.parsed("log", "a level such as \"info\", or \"info,lanyard::token=debug\"", str::parse);
    let would_do = "http://host:port of a collector that speaks OTLP over gRPC, such as \"http://localhost:4317\"; one beside \
                    this server takes traces further over TLS";
    let otlp_endpoint = section.parsed("otlp_endpoint", would_do, collector);
    section.finish();
    TelemetrySettings { log, otlp_endpoint }
}

fn collector(text: &str) -> Result<String, &'static str> {
    let uri: Uri = text.parse().map_err(|_invalid| "no address")?;
    let is_bare = uri.path() == "/" && uri.query().is_none();
    let is_plain = uri.scheme_str() == Some("http") && is_bare && !text.contains('@');
    if is_plain && uri.port().is_some() { Ok(text.to_owned()) } else { Err("no address of a collector") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a section of these lines.
    fn problems_of(lines: &str) -> Vec<String> {
        let text = format!("[telemetry]\n{lines}\n");
        let reader = Reader::new(Path::new("server.toml"), &text);
        let settings = read_telemetry(&mut reader.document());
        let problems = reader.settled(Some(settings)).err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn a_collector_is_a_plain_address_beside_the_server_and_a_filter_is_one_of_the_log_s() {
        let fine = "log = \"warn,lanyard::facts=debug\"\notlp_endpoint = \"http://127.0.0.1:4317\"";
        assert_eq!(problems_of(fine), [""; 0]);
        for wrong in ["https://a:4317", "a:4317", "http://a", "http://a:4317/v1/traces", "http://u:p@a:1", ""] {
            assert_eq!(problems_of(&format!("otlp_endpoint = \"{wrong}\"")), ["telemetry.otlp_endpoint"], "{wrong}");
        }
        assert_eq!(problems_of("log = \"lanyard=loud\""), ["telemetry.log"]);
        assert_eq!(problems_of("trace = \"x\""), ["telemetry.trace"]);
    }
}
