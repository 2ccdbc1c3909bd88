//! What callers see at the real doors: one TLS port, gRPC and REST, every no in the form its door speaks.

use crate::support::harness::{POLICY, csr, settings};
use crate::support::issuer::{AUDIENCE, FakeIssuer};
use hyper_util::rt::TokioIo;
use lanyard::clock::{Clock, SystemClock};
use lanyard::config::ServerSettings;
use lanyard::crypto::{KeyAlgorithm, KeyPair, PemLabel, Random};
use lanyard::discovery::HttpsFetch;
use lanyard::server::{Server, World};
use lanyard::telemetry::{Shutdown, ShutdownTrigger};
use lanyard::tls::{ServerTrust, SessionCertificate, TlsClient};
use lanyard::wire::lanyard::admin_client::AdminClient;
use lanyard::wire::lanyard::admin_explain_request::Subject;
use lanyard::wire::lanyard::event::Kind;
use lanyard::wire::lanyard::issuer_client::IssuerClient;
use lanyard::wire::lanyard::{
    AdminExplainRequest, EndSessionRequest, ExchangeRequest, FetchJwtRequest, RenewRequest, ShowBundleRequest,
    WatchRequest,
};
use lanyard::wire::{HttpsClient, ServerUrl, channel};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A server with its ports open, on the machine's clock.
pub(crate) struct Doors {
    pub(crate) folder: TempDir,
    pub(crate) issuer: FakeIssuer,
    pub(crate) url: ServerUrl,
    pub(crate) bundle: SocketAddr,
    /// The bundle endpoint's SPIFFE profile, where it is switched on.
    pub(crate) spiffe: Option<SocketAddr>,
    /// For operators who are elsewhere, where it is switched on.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) trust: ServerTrust,
    pub(crate) stop: ShutdownTrigger,
    pub(crate) running: JoinSet<()>,
}

impl Doors {
    pub(crate) async fn open() -> Self {
        Self::with(&POLICY.replace("ttl =", "jwt_without_key = true\nttl =")).await
    }

    pub(crate) async fn with(policy: &str) -> Self {
        Self::whose_issuer_says("", policy).await
    }

    /// With a line more in the issuer's section.
    pub(crate) async fn whose_issuer_says(line: &str, policy: &str) -> Self {
        Self::set_up(line, policy, |_as_they_are| {}).await
    }

    /// With other settings.
    pub(crate) async fn set_up(line: &str, policy: &str, change: impl FnOnce(&mut ServerSettings)) -> Self {
        lanyard::crypto::install_providers();
        let (folder, issuer) = (TempDir::new().unwrap(), FakeIssuer::new());
        fs::write(folder.path().join("jwks.json"), issuer.jwks()).unwrap();
        let mut settings = settings(folder.path(), policy, "memory", line);
        settings.doors.issuer = vec!["127.0.0.1:0".parse().unwrap()];
        settings.doors.admin_socket = folder.path().join("admin.sock");
        settings.doors.bundle = vec!["127.0.0.1:0".parse().unwrap()];
        settings.doors.health = None;
        change(&mut settings);
        let fetch = Arc::new(HttpsFetch::new(None).unwrap());
        let world = World { clock: Arc::new(SystemClock), random: Random::system(), fetch };
        let (stop, shutdown) = Shutdown::pair();
        let server = Server::start(&settings, world, shutdown).await.unwrap();
        let port = server.addresses().first().unwrap().port();
        let bundle = *server.bundle_addresses().first().unwrap();
        let spiffe = server.spiffe_bundle_addresses().first().copied();
        let admin = server.admin_addresses().first().copied();
        let pem = fs::read(settings.data_dir.join("door-ca.pem")).unwrap();
        let trust = ServerTrust::from_pem(&pem, "the door CA").unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move { server.run().await.unwrap() });
        let url = format!("https://127.0.0.1:{port}").parse().unwrap();
        Self { folder, issuer, url, bundle, spiffe, admin, trust, stop, running }
    }

    pub(crate) fn curl(&self) -> HttpsClient {
        HttpsClient::new(self.url.clone(), TlsClient::new(&self.trust, None, &["http/1.1"]).unwrap())
    }

    /// The real curl over HTTP/2: the status and the code, or what curl complains of.
    pub(crate) async fn real_curl(&self, path: &str, arguments: &[&str]) -> (String, Value) {
        let (status, body) = self.real_curl_s_answer(path, arguments).await;
        (status, body.get("code").unwrap().clone())
    }

    /// The same, with the whole body.
    pub(crate) async fn real_curl_s_answer(&self, path: &str, arguments: &[&str]) -> (String, Value) {
        let url = format!("{}{path}", self.url);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--http2", "--noproxy", "*", "--max-time", "8", "--cacert"]);
        curl.arg(self.folder.path().join("data/door-ca.pem")).args(["--write-out", "\n%{http_version} %{http_code}"]);
        let output = curl.args(arguments).arg(url).output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        let (body, status) = said.rsplit_once('\n').unwrap();
        (status.to_owned(), serde_json::from_str(body).unwrap())
    }

    pub(crate) fn agent(&self, key: Option<&KeyPair>) -> IssuerClient<Channel> {
        let session = key.map(|key| SessionCertificate::of(key, &Random::system(), SystemClock.now()).unwrap());
        let tls = TlsClient::new(&self.trust, session.as_ref(), &["h2"]).unwrap();
        IssuerClient::new(channel(&self.url, tls).unwrap())
    }

    pub(crate) fn token(&self) -> String {
        self.issuer.token(SystemClock.now())
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, answer) = self.curl().post_json(path, body.to_string().into_bytes()).await.unwrap();
        (status.as_u16(), serde_json::from_slice(&answer).unwrap())
    }

    pub(crate) async fn close(self) {
        self.stop.pull();
        self.running.join_all().await;
    }
}

pub(crate) fn code_of(status: &Status) -> &str {
    status.metadata().get("lanyard-code").unwrap().to_str().unwrap()
}

pub(crate) fn exchange(token: String) -> ExchangeRequest {
    ExchangeRequest { token, csr: csr().into(), profile: String::new() }
}

#[tokio::test]
async fn curl_and_openssl_alone_get_an_svid_once_per_key() {
    let doors = Doors::open().await;
    let token = doors.token();
    let pem = PemLabel::CertificateRequest.armour(&csr()).to_string();
    // Without a client certificate the session ends with its first SVID, so the second ends with the session.
    for limit in ["ttl", "session"] {
        let (status, answer) = doors.post("/v1/svid/x509", &json!({"token": token, "csr": pem})).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer["spiffe_id"].as_str().unwrap().starts_with("spiffe://ci.example.org/acme/payments/api/-/"));
        assert_eq!(answer["certificate_chain"].as_str().unwrap().matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(answer["trust_bundle"].as_str().unwrap().matches("BEGIN CERTIFICATE").count(), 1);
        assert_eq!(answer["limited_by"], limit);
    }
    let other = PemLabel::CertificateRequest.armour(&csr()).to_string();
    let (status, problem) = doors.post("/v1/svid/x509", &json!({"token": token, "csr": other})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("token_replayed")));
    assert_eq!(problem["request_id"].as_str().unwrap().len(), 32);
    doors.close().await;
}

#[tokio::test]
async fn an_agent_exchanges_renews_and_hears_of_the_bundle_over_one_connection() {
    let doors = Doors::open().await;
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let mut agent = doors.agent(Some(&key));
    let first = agent.exchange(exchange(doors.token())).await.unwrap().into_inner();
    assert_eq!(first.certificate_chain.len(), 2);
    let session = first.session.clone();
    let again = RenewRequest { session: session.clone(), csr: csr().into(), ..RenewRequest::default() };
    let renewed = agent.renew(again).await.unwrap().into_inner();
    assert_eq!((renewed.session, renewed.spiffe_id), (session.clone(), first.spiffe_id));
    let audience = vec!["https://service.test".to_owned()];
    let asked = FetchJwtRequest { session: session.clone(), audience, profile: String::new() };
    assert!(agent.fetch_jwt(asked).await.unwrap().into_inner().jwt_svid.starts_with("ey"));

    let mut events = agent
        .watch(WatchRequest { session: vec![session.clone()], ..WatchRequest::default() })
        .await
        .unwrap()
        .into_inner();
    let Some(Kind::Sessions(live)) = events.message().await.unwrap().unwrap().kind else {
        panic!("sessions come first")
    };
    assert_eq!(live.session, [session]);
    assert!(matches!(events.message().await.unwrap().unwrap().kind, Some(Kind::Bundle(_))));
    doors.stop.pull();
    assert_eq!(events.message().await.unwrap_err().code(), Code::Unavailable, "a stream never ends well");
    doors.close().await;
}

#[tokio::test]
async fn an_agent_without_a_session_key_is_told_so() {
    let doors = Doors::open().await;
    let status = doors.agent(None).exchange(exchange(doors.token())).await.unwrap_err();
    assert_eq!((status.code(), code_of(&status)), (Code::Unauthenticated, "session_key_missing"));
    doors.close().await;
}

#[tokio::test]
async fn a_no_is_a_problem_document_with_what_to_change() {
    let doors = Doors::open().await;
    let token = doors.issuer.token_with(SystemClock.now(), "aud", "https://elsewhere.example.com");
    let asked = json!({"token": token, "audience": ["https://service.test"]});
    let (status, problem) = doors.post("/v1/svid/jwt", &asked).await;
    assert_eq!((status, &problem["code"]), (401, &json!("token_audience_wrong")));
    assert!(problem["detail"].as_str().unwrap().contains(AUDIENCE), "{problem}");
    assert_eq!(problem["status"], 401);

    let (status, problem) = doors.post("/v1/svid/jwt", &json!({"tokn": "x"})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("body_malformed")));
    assert!(problem["detail"].as_str().unwrap().contains("`tokn`"), "{problem}");
    assert_eq!(doors.post("/v1/nowhere", &json!({})).await.0, 404);
    let (status, problem) = doors.post("/v1/bundle", &json!({})).await;
    assert_eq!((status, &problem["code"]), (405, &json!("method_not_allowed")));
    let (status, problem) = doors.post("/v1/svid/x509", &json!(["token", "csr", null])).await;
    assert_eq!(status, 400);
    assert!(problem["detail"].as_str().unwrap().ends_with("expected an object with token and csr"), "{problem}");
    let (status, problem) = doors.post("/v1/svid/jwt", &json!({"token": "x", "audience": []})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("audience_missing")));
    let large = json!({"token": "x".repeat(200_000)});
    assert_eq!(doors.post("/v1/svid/jwt", &large).await.0, 413);
    doors.close().await;
}

#[tokio::test]
async fn oauth_clients_are_answered_in_their_own_words() {
    let doors = Doors::open().await;
    let ask = async |audience: &str| {
        let token_type = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token";
        let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
        let form = format!(
            "grant_type={grant}&subject_token_type={token_type}&audience={audience}&subject_token={}",
            doors.token()
        );
        let (status, body) = doors.curl().post_form("/v1/oauth/token", form.into_bytes()).await.unwrap();
        (status.as_u16(), serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, given) = ask("https://service.test").await;
    assert_eq!(status, 200, "{given}");
    assert_eq!(given["issued_token_type"], "urn:ietf:params:oauth:token-type:jwt");
    assert!(given["expires_in"].as_i64().unwrap() > 0);
    let (status, error) = ask("https://elsewhere.test").await;
    assert_eq!((status, &error["error"]), (400, &json!("invalid_target")), "{error}");
    doors.close().await;
}

#[tokio::test]
async fn an_operator_asks_over_the_socket_and_its_file_goes_with_the_server() {
    let doors = Doors::open().await;
    let socket = doors.folder.path().join("admin.sock");
    let path = socket.clone();
    let connect = tower::service_fn(move |_uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://admin").connect_with_connector(connect).await.unwrap();
    let mut admin = AdminClient::new(channel);
    let shown = admin.show_bundle(ShowBundleRequest::default()).await.unwrap().into_inner();
    assert_eq!(shown.trust_domain, "ci.example.org");
    let subject = Some(Subject::Token(doors.token()));
    let walk = admin.explain(AdminExplainRequest { subject }).await.unwrap().into_inner().walk;
    assert!(serde_json::from_slice::<Value>(&walk).unwrap().is_object());
    let (stop, running) = (doors.stop, doors.running);
    stop.pull();
    running.join_all().await;
    assert!(!socket.exists());
}

/// Shows: FED-12.
#[tokio::test]
async fn anybody_reads_the_bundle() {
    let doors = Doors::open().await;
    let (status, body) = doors.curl().fetch("/v1/bundle").await.unwrap();
    assert_eq!(status.as_u16(), 200);
    let bundle: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(bundle["keys"].as_array().unwrap().len(), 2);
    doors.close().await;
}

/// Shows: FED-1, FED-12, FED-13.
#[tokio::test]
async fn the_bundle_is_had_by_get_as_json_with_its_age_and_by_no_other_method() {
    let doors = Doors::open().await;
    for method in ["POST", "PUT", "DELETE"] {
        let answer = doors.real_curl("/v1/bundle", &["--request", method]).await;
        assert_eq!(answer, ("2 405".to_owned(), json!("method_not_allowed")), "{method}");
    }
    let url = format!("{}/v1/bundle", doors.url);
    let ca = doors.folder.path().join("data/door-ca.pem");
    let ask = async |how: &str| {
        let curl = Command::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "8", how, "--cacert"])
            .arg(&ca)
            .arg(&url)
            .output();
        String::from_utf8(curl.await.unwrap().stdout).unwrap()
    };
    let (whole, head) = (ask("--include").await, ask("--head").await);
    let (facts, document) = whole.split_once("\r\n\r\n").unwrap();
    for fact in ["200", "content-type: application/json", "etag: ", "cache-control: max-age="] {
        assert!(facts.contains(fact), "{facts}");
        assert!(head.contains(fact), "{head}");
    }
    assert!(!document.starts_with('\u{feff}'));
    let trust_domain = lanyard::identity::TrustDomain::parse("ci.example.org").unwrap();
    let bundle = lanyard::bundle::Bundle::parse(trust_domain, document.as_bytes()).unwrap();
    assert_eq!((bundle.x509_authorities.len(), bundle.jwt_authorities.len()), (1, 1));
    assert_eq!(head.split_once("\r\n\r\n").unwrap().1, "", "HEAD has no body");
    doors.close().await;
}

#[tokio::test]
async fn curl_over_http2_sees_every_early_refusal() {
    let doors = Doors::open().await;
    let large = doors.folder.path().join("large");
    fs::write(&large, vec![b'x'; 5_000_000]).unwrap();
    let large = format!("@{}", large.display());
    let json = "Content-Type: application/json";
    for _ in 0..20 {
        for (path, arguments, status, code) in [
            ("/v1/svid/x509", ["-d", "xx"].as_slice(), "2 415", "content_type"),
            ("/v1/svid/x509", &["-H", json, "-d", "xx"], "2 400", "body_malformed"),
            ("/v1/svid/x509", &["-H", json, "--data-binary", &large], "2 413", "body_too_large"),
            ("/v1/nowhere", &["-d", "xx"], "2 404", "path_unknown"),
            ("/v1/bundle", &["-d", "xx"], "2 405", "method_not_allowed"),
        ] {
            assert_eq!(doors.real_curl(path, arguments).await, (status.to_owned(), json!(code)));
        }
    }
    doors.close().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_the_clients_delay() {
    let doors = Doors::open().await;
    let port = doors.url.to_string().rsplit_once(':').unwrap().1.parse().unwrap();
    let tls = TlsClient::new(&doors.trust, None, &["http/1.1"]).unwrap();
    let mut client = tls.connect("127.0.0.1", port).await.unwrap();
    let asked =
        "POST /v1/svid/x509 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    client.write_all(asked.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    // The server then closes the connection, with or without a farewell of TLS.
    drop(client.read_to_end(&mut said).await);
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.contains("request_timeout"), "{said}");
    doors.close().await;
}

#[tokio::test]
async fn a_token_used_by_another_key_and_an_ended_session_say_what_to_do() {
    let doors = Doors::open().await;
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let (token, mut agent) = (doors.token(), doors.agent(Some(&key)));
    let session = agent.exchange(exchange(token.clone())).await.unwrap().into_inner().session;
    let other = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let status = doors.agent(Some(&other)).exchange(exchange(token.clone())).await.unwrap_err();
    assert_eq!(code_of(&status), "token_replayed");
    assert!(status.message().ends_with("If that was not you, tell your operator"), "{status}");
    agent.end_session(EndSessionRequest { session, ..EndSessionRequest::default() }).await.unwrap();
    let status = agent.exchange(exchange(token)).await.unwrap_err();
    assert_eq!(code_of(&status), "session_ended");
    assert!(status.message().ends_with("retry the job"), "{status}");
    doors.close().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_with_a_code_over_grpc_too() {
    let doors = Doors::open().await;
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let status = doors.agent(Some(&key)).exchange(exchange("x".repeat(200_000))).await.unwrap_err();
    assert_eq!((status.code(), code_of(&status)), (Code::InvalidArgument, "request_too_large"));
    doors.close().await;
}

#[tokio::test]
async fn events_are_for_keys_with_a_live_session_and_few_streams_each() {
    let doors = Doors::open().await;
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let mut agent = doors.agent(Some(&key));
    let session = vec![agent.exchange(exchange(doors.token())).await.unwrap().into_inner().session];
    let watch = WatchRequest { session: session.clone(), ..WatchRequest::default() };

    let stranger = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    for named in [Vec::new(), session.clone()] {
        let asked = WatchRequest { session: named, ..WatchRequest::default() };
        let mut events = doors.agent(Some(&stranger)).watch(asked).await.unwrap().into_inner();
        let present = events.message().await.unwrap().unwrap().kind.unwrap();
        assert!(matches!(present, Kind::Sessions(live) if live.session.is_empty()), "the present comes first, always");
        let status = events.message().await.unwrap_err();
        assert_eq!((status.code(), code_of(&status)), (Code::PermissionDenied, "session_unknown"));
    }

    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(agent.watch(watch.clone()).await.unwrap());
    }
    let status = agent.watch(watch.clone()).await.unwrap_err();
    assert_eq!((status.code(), code_of(&status)), (Code::ResourceExhausted, "too_many_watches"));
    open.pop();
    let again = async {
        while agent.watch(watch.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again).await.expect("a stream that is dropped makes room");
    doors.close().await;
}

#[tokio::test]
async fn the_bearer_of_one_project_sees_no_rule_that_names_another() {
    let others = r#"
[[rule]]
name = "the secret merger"
id = "/merger/{project_path}"
ttl = "15m"
[rule.when]
issuer = "corp"
project_path = "board/secret-merger"
"#;
    let doors = Doors::with(&format!("{others}{POLICY}")).await;
    let (status, walk) = doors.post("/v1/explain", &json!({"token": doors.token()})).await;
    assert_eq!(status, 200, "{walk}");
    let shown = walk.to_string();
    assert!(shown.contains("every project, its pipelines"), "{shown}");
    assert!(!shown.contains("merger"), "{shown}");
    doors.close().await;
}
