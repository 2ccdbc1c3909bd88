//! Envoy, with the validation context that reads CRLs and with the SPIFFE validator.

use crate::consumer::{Consumer, Learns, Setting};
use crate::dialogue::Dialogue;
use crate::installed::installed;
use crate::sides::changed;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

enum Envoy {
    Plain,
    Spiffe,
    /// With what an agent serves where `[sds]` says `crl = true`: by the agent itself, or of files as it would.
    SpiffeWithLists,
}

impl Consumer for Envoy {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain => "Envoy",
            Self::Spiffe => "Envoy, SPIFFE validator",
            Self::SpiffeWithLists => "Envoy, SPIFFE validator, agent's SDS with `crl`",
        }
    }

    fn dialogue(&self) -> Dialogue {
        Dialogue::Http
    }

    fn learns(&self) -> Learns {
        match self {
            Self::Plain | Self::SpiffeWithLists => Learns::Alone,
            Self::Spiffe => Learns::Never,
        }
    }

    fn prepare(&self, setting: &Setting) -> Command {
        let whole = setting.write("envoy.yaml");
        setting.write("svid.yaml");
        let trust = match self {
            Self::Plain => setting.text("trust.yaml"),
            Self::Spiffe => setting.text("trust-spiffe.yaml"),
            Self::SpiffeWithLists => with_lists(setting),
        };
        fs::write(setting.folder.join("trust.yaml"), trust).unwrap();
        if let (Self::SpiffeWithLists, Some(agent)) = (self, agent_of(setting)) {
            let text = changed(&fs::read_to_string(&whole).unwrap(), "name: trust", "name: ROOTCA");
            let file = format!("path_config_source: {{ path: {}/trust.yaml }}", setting.folder.display());
            fs::write(&whole, changed(&text, &file, BY_AGENT) + &AGENT.replace("SOCKET", &agent)).unwrap();
        }
        command(&whole)
    }
}

const BY_AGENT: &str = "resource_api_version: V3, api_config_source: { api_type: GRPC, transport_api_version: V3, \
                        grpc_services: [{ envoy_grpc: { cluster_name: agent } }] }";
const AGENT: &str = r#"
  clusters:
  - name: agent
    load_assignment:
      cluster_name: agent
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: SOCKET } } } }] }]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
"#;

/// The socket of the agent whose files are read; none where a test has written them itself.
fn agent_of(setting: &Setting) -> Option<String> {
    setting.files.to_str()?.strip_suffix("-files").map(|agent| format!("{agent}.sock"))
}

/// Roots and lists in one place.
fn with_lists(setting: &Setting) -> String {
    let [roots, lists] =
        ["svid_bundle.pem", "svid_crl.pem"].map(|name| fs::read_to_string(setting.files.join(name)).unwrap());
    let file = format!("trust_bundle: {{ filename: {}/svid_bundle.pem }}", setting.files.display());
    let inline = format!("trust_bundle: {{ inline_string: {} }}", json!(roots + &lists));
    changed(&setting.text("trust-spiffe.yaml"), &file, &inline)
}

/// Envoy on a configuration.
pub(crate) fn command(whole: &Path) -> Command {
    let mut command = Command::new(installed("LANYARD_TEST_ENVOY"));
    // No shared memory with other Envoys, and few threads.
    command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"]).arg(whole);
    command
}

#[test]
fn envoy() {
    crate::row::hold(&Envoy::Plain);
}

#[test]
fn envoy_with_its_spiffe_validator() {
    crate::row::hold(&Envoy::Spiffe);
}

#[test]
fn envoy_with_its_spiffe_validator_and_the_lists_that_an_agent_sends() {
    crate::row::hold(&Envoy::SpiffeWithLists);
}
