//! What a collector of traces sees of a request, and what the road feels of a collector: nothing.

use crate::callers::{Caller, Door, Outcome, now};
use crate::collector::{Collector, attribute, hex, section};
use crate::own_server::OwnServer;
use crate::place::{Place, free_port};
use crate::server::{Server, lanyard, words};
use crate::watching::{scraped, until};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const CALLERS_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLERS_SPAN: &str = "00f067aa0ba902b7";

fn traceparent() -> String {
    format!("traceparent: 00-{CALLERS_TRACE}-{CALLERS_SPAN}-01")
}

/// Each span below which other.
fn tree(spans: &[Span]) -> BTreeMap<String, String> {
    let name_of =
        |id: &[u8]| spans.iter().find(|span| span.span_id == id).map_or_else(|| hex(id), |span| span.name.clone());
    spans.iter().map(|span| (span.name.clone(), name_of(&span.parent_span_id))).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"))
}

#[test]
fn a_request_is_a_tree_of_the_road_s_steps_below_its_caller_s_span() {
    let collector = Collector::start();
    let traced = OwnServer::with(&collector.section());
    let token = traced.token_for("https://lanyard.test");
    let answer = traced.ask(&token, &traceparent());
    let spans = collector.trace(CALLERS_TRACE, "/v1/svid/x509");
    let below = [
        ("/v1/svid/x509", CALLERS_SPAN),
        ("issue", "/v1/svid/x509"),
        ("token verified", "issue"),
        ("rule", "issue"),
        ("facts", "issue"),
        ("fact", "facts"),
        ("question", "fact"),
        ("record", "issue"),
        ("sign", "issue"),
        ("read back", "issue"),
    ];
    assert_eq!(tree(&spans), below.map(|(name, parent)| (name.to_owned(), parent.to_owned())).into());

    let issue = named(&spans, "issue");
    let said = |name: &str| attribute(issue, name).unwrap_or_default();
    let id = answer["request_id"].as_str().unwrap();
    let names = ["request_id", "code", "issuer", "rule"].map(|name| said(&format!("lanyard.{name}")));
    assert_eq!(names, [id, "issued", "dev", "every pipeline"]);
    let journal = lanyard().args(["audit", "show", "--json", "--config"]).arg(traced.file("server.toml")).output();
    assert!(words(&journal.unwrap()).contains(id), "the journal has the same request id");
    assert_eq!(attribute(named(&spans, "fact"), "lanyard.fact").as_deref(), Some("job.state"));

    // In the order of the road, and none beyond its parent.
    let steps = ["token verified", "rule", "facts", "record", "sign", "read back"].map(|name| named(&spans, name));
    assert!(steps.is_sorted_by_key(|span| span.start_time_unix_nano));
    assert!(steps.iter().all(|step| step.end_time_unix_nano <= issue.end_time_unix_nano));
    let told = format!("{spans:?}");
    for secret in [&*token, "acme", "spiffe://", "\"ada", "ada@", "BEGIN"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
}

#[test]
fn the_trace_of_a_refusal_ends_at_the_step_that_refused() {
    let collector = Collector::start();
    let traced = OwnServer::with(&collector.section());
    let answer = traced.ask(&traced.token_for("https://vault.test"), &traceparent());
    let spans = collector.trace(CALLERS_TRACE, "/v1/svid/x509");
    let names: Vec<_> = tree(&spans).into_keys().collect();
    assert_eq!(names, ["/v1/svid/x509", "issue", "token verified"]);
    assert_eq!(attribute(named(&spans, "issue"), "lanyard.code").as_deref(), answer["code"].as_str());
}

#[test]
fn spans_go_over_tls_to_the_collector_that_the_named_ca_vouches_for_and_to_no_other() {
    let (collector, other) = (Collector::over_tls(), Collector::over_tls());
    let traced = OwnServer::with(&collector.section_over_tls(&collector.ca_file()));
    traced.ask(&traced.token_for("https://lanyard.test"), &traceparent());
    let spans = collector.trace(CALLERS_TRACE, "/v1/svid/x509");
    assert_eq!(attribute(named(&spans, "issue"), "lanyard.code").as_deref(), Some("issued"));

    let place = Place::with(&collector.section_over_tls(&other.ca_file()));
    let server = Server::start(&place);
    storm(&place, 3);
    until(&place, "lanyard_spans_dropped_total", |dropped| dropped > 0.5);
    assert_eq!(scraped(&place, "lanyard_spans_sent_total"), Some(0.0));
    assert_eq!(server.log().matches("traces cannot be delivered").count(), 1, "{}", server.log());
}

#[test]
fn a_collector_s_ca_that_was_replaced_is_believed_at_the_next_connection() {
    let (collector, other) = (Collector::over_tls(), Collector::over_tls());
    let folder = TempDir::new().unwrap();
    let believed = folder.path().join("ca.pem");
    fs::copy(other.ca_file(), &believed).unwrap();
    let place = Place::with(&collector.section_over_tls(&believed));
    let server = Server::start(&place);
    storm(&place, 1);
    until(&place, "lanyard_spans_dropped_total", |dropped| dropped > 0.5);
    // As long as it is no CA, the former one is believed, and nobody else.
    fs::write(&believed, "the certificate comes later\n").unwrap();
    let before = scraped(&place, "lanyard_spans_dropped_total").unwrap();
    storm(&place, 1);
    until(&place, "lanyard_spans_dropped_total", |dropped| dropped > before);
    assert!(server.log().contains("as the files for TLS were before"), "{}", server.log());
    assert_eq!(scraped(&place, "lanyard_spans_sent_total"), Some(0.0));
    fs::copy(collector.ca_file(), &believed).unwrap();
    storm(&place, 1);
    until(&place, "lanyard_spans_sent_total", |sent| sent > 0.5);
}

/// As many identities as make more spans than the queue holds.
fn storm(place: &Place, requests: usize) {
    let (runtime, door) = (Runtime::new().unwrap(), Door::of(place));
    for _ in 0..requests {
        let outcome = runtime.block_on(Caller::curl().offer(&place.issuer.token(now()), &door));
        assert!(matches!(outcome, Outcome::Issued(_)), "{outcome:?}");
    }
}

#[test]
fn a_collector_that_is_away_or_never_answers_costs_spans_and_nobody_s_identity() {
    let silent = Collector::silent();
    for section in [section(free_port()), silent.section()] {
        let place = Place::with(&section);
        let server = Server::start(&place);
        storm(&place, 20);
        until(&place, "lanyard_spans_dropped_total", |dropped| dropped > 100.0);
        assert_eq!(scraped(&place, "lanyard_spans_sent_total"), Some(0.0));
        assert_eq!(server.log().matches("traces cannot be delivered").count(), 1, "{}", server.log());
        storm(&place, 1);
        let began = Instant::now();
        server.ask_to_end();
        let (status, log) = server.wait();
        assert!(status.success(), "{log}");
        assert!(began.elapsed() < Duration::from_secs(15), "the end waits for a collector, and not for ever");
    }
}

#[test]
fn nobody_makes_spans_where_nobody_collects_them() {
    let place = Place::new();
    let _server = Server::start(&place);
    storm(&place, 3);
    assert_eq!(scraped(&place, "lanyard_spans_sent_total"), Some(0.0));
    assert_eq!(scraped(&place, "lanyard_spans_dropped_total"), Some(0.0));
}

#[test]
fn what_is_logged_follows_the_file_while_the_server_runs() {
    let place = Place::with("[telemetry]\nlog = \"warn\"\n");
    let server = Server::start(&place);
    let write = |from: &str, to: &str| {
        let text = fs::read_to_string(place.config()).unwrap();
        assert!(text.contains(from));
        fs::write(place.config(), text.replace(from, to)).unwrap();
    };
    let said = |what: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !server.log().contains(what) {
            assert!(Instant::now() < deadline, "{what}: {}", server.log());
            thread::sleep(Duration::from_millis(50));
        }
    };
    storm(&place, 1);
    assert!(!server.log().contains("serving"), "{}", server.log());
    write("\"warn\"", "\"info\"");
    said("another log filter");
    write("\"info\"", "\"loud=loud\"");
    said("the log's filter stays");
    write("log = \"loud=loud\"\n", "");
    thread::sleep(Duration::from_secs(4)); // it is looked at every three seconds, and nothing is to be seen
    assert_eq!(server.log().matches("another log filter").count(), 1, "what the command line says is the same");
    write("[telemetry]\n", "[telemetry]\nlog = \"error\"\n");
    said("new=error");
}
