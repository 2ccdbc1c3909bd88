//! The section `[telemetry]`: where traces go, and what is logged.

use super::problem::{Problem, read_text};
use super::reader::Reader;
use super::section::Section;
use crate::telemetry::{LogFilter, chain};
use crate::wire::{ServerUrl, TlsFiles};
use http::Uri;
use std::path::Path;

/// What operators hear besides metrics.
#[derive(Clone, Debug, Default)]
pub struct TelemetrySettings {
    /// What is logged; the command line says so where this does not.
    pub log: Option<LogFilter>,
    /// Who takes our traces; none where nobody does.
    pub collector: Option<Collector>,
}

/// A collector of OpenTelemetry.
#[derive(Clone, Debug)]
pub struct Collector {
    /// `http://host:port` or `https://host:port`.
    pub endpoint: String,
    /// How it is reached, where not in the clear.
    pub over_tls: Option<(ServerUrl, TlsFiles)>,
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
    let collector = read_collector(&mut section);
    section.finish();
    TelemetrySettings { log, collector }
}

fn read_collector(section: &mut Section<'_, '_>) -> Option<Collector> {
    let would_do = "the collector's address for OTLP over gRPC, such as \"http://localhost:4317\" beside this server, or \
                    \"https://otel.corp.example:4317\"";
    let is_given = section.holds("otlp_endpoint");
    let endpoint = section.parsed("otlp_endpoint", would_do, address);
    let line = section.line_of("otlp_ca_file");
    let ca_file = section.path("otlp_ca_file");
    if !is_given && line.is_some() {
        let found = "a CA, and no otlp_endpoint";
        section.problem("otlp_ca_file", line, found, "write where the collector is, or leave the file away");
    }
    let endpoint = endpoint?;
    // What is no URL of a server is http, or no address at all.
    let Ok(url) = endpoint.parse::<ServerUrl>() else {
        if ca_file.is_some() {
            section.problem("otlp_ca_file", line, "a CA beside http", "write https, or leave the file away");
        }
        return Some(Collector { endpoint, over_tls: None });
    };
    match TlsFiles::read(ca_file, None) {
        Ok(files) => Some(Collector { endpoint, over_tls: Some((url, files)) }),
        Err(error) => {
            section.problem("otlp_ca_file", line, chain(&error), "name a PEM file with the CA's certificate");
            None
        }
    }
}

fn address(text: &str) -> Result<String, &'static str> {
    let uri: Uri = text.parse().map_err(|_invalid| "no address")?;
    let is_bare = uri.path() == "/" && uri.query().is_none() && !text.contains('@');
    let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
    if is_known && is_bare && uri.port().is_some() { Ok(text.to_owned()) } else { Err("no address of a collector") }
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
    fn a_collector_is_an_address_with_a_port_and_a_filter_is_one_of_the_log_s() {
        let fine = "log = \"warn,lanyard::facts=debug\"\notlp_endpoint = \"http://127.0.0.1:4317\"";
        assert_eq!(problems_of(fine), [""; 0]);
        assert_eq!(problems_of("otlp_endpoint = \"https://a:4317\""), [""; 0]);
        for wrong in
            ["ftp://a:4317", "a:4317", "http://a", "https://a", "http://a:4317/v1/traces", "http://u:p@a:1", ""]
        {
            assert_eq!(problems_of(&format!("otlp_endpoint = \"{wrong}\"")), ["telemetry.otlp_endpoint"], "{wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let key = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        std::fs::write(&ca, key.cert.pem()).unwrap();
        let with = |endpoint: &str| {
            problems_of(&format!("otlp_endpoint = \"{endpoint}\"\notlp_ca_file = {:?}", ca.display().to_string()))
        };
        assert_eq!(with("https://a:4317"), [""; 0]);
        assert_eq!(with("http://a:4317"), ["telemetry.otlp_ca_file"]);
        let missing = "otlp_endpoint = \"https://a:4317\"\notlp_ca_file = \"/nowhere/ca.pem\"";
        assert_eq!(problems_of(missing), ["telemetry.otlp_ca_file"]);
        let alone = format!("otlp_ca_file = {:?}", ca.display().to_string());
        assert_eq!(problems_of(&alone), ["telemetry.otlp_ca_file"]);
        assert_eq!(problems_of("log = \"lanyard=loud\""), ["telemetry.log"]);
        assert_eq!(problems_of("trace = \"x\""), ["telemetry.trace"]);
    }
}
