//! Our bundle in files and in object storage, and what a rotation waits for.

use crate::support::foreign::ForeignCa;
use crate::support::harness::{Harness, POLICY};
use crate::support::https::{Script, Scripted, Trouble, json_answer};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use lanyard::authority::{AuthorityKind, HolderKind, NotNow, OrderError, OrderKind, Outlook, Published};
use lanyard::bundle::Bundle;
use lanyard::clock::{Clock, ManualClock};
use lanyard::crypto::{Digest, SharedSecret};
use lanyard::identity::TrustDomain;
use lanyard::publish::{Credentials, SigningTime, sign};
use lanyard::telemetry::{Shutdown, ShutdownTrigger};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;

const LIMIT: Duration = Duration::from_secs(60);
const FILES: &str = "[[publish]]\nfile = \"out/bundle.pem\"\nform = \"pem\"\n\
    [[publish]]\nfile = \"out/bundle.json\"\nform = \"spiffe\"\nmode = \"0640\"\n";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A server whose publishers run.
struct Site {
    harness: Harness,
    stop: Option<ShutdownTrigger>,
}

impl Site {
    async fn open(configured: &'static str) -> Self {
        let mut site = Self { harness: Harness::whose_issuer_says(configured, POLICY, "memory").await, stop: None };
        site.start();
        site
    }

    fn start(&mut self) {
        let (stop, shutdown) = Shutdown::pair();
        self.stop = Some(stop);
        for publisher in std::mem::take(&mut self.harness.parts.publishers) {
            let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.harness.clock);
            let published = self.harness.parts.rotator.authorities().published();
            tokio::spawn(publisher.run(published, clock, shutdown.clone()));
        }
    }

    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let seen = async {
            while !so(self) {
                self.harness.advance(1);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(LIMIT, seen).await.is_ok();
        assert!(seen, "{what}: {:?}", self.troubles());
    }

    fn troubles(&self) -> BTreeMap<String, String> {
        self.harness.parts.rotator.desk().holders().troubles()
    }

    fn tells(&self, what: &str) -> bool {
        self.troubles().values().any(|told| told.contains(what))
    }

    /// Whether a publisher's readers are given their time from then on.
    fn has_begun_anew_since(&self, then: OffsetDateTime) -> bool {
        let holders = self.harness.parts.rotator.desk().holders().all(|_| true, self.harness.now());
        holders.iter().any(|holder| holder.wrote_at.values().next().is_some_and(|first| *first >= then))
    }

    fn is_written(&self) -> bool {
        let holders = self.harness.parts.rotator.desk().holders().all(|_| true, self.harness.now());
        let sequence = self.published().bundle.sequence;
        holders.iter().all(|holder| holder.kind == HolderKind::Publisher && holder.holds == Some(sequence))
    }

    fn published(&self) -> Arc<Published> {
        Arc::clone(&self.harness.parts.rotator.authorities().published().borrow())
    }

    fn pem(&self) -> String {
        self.published().pem.clone()
    }

    /// Our bundle as a server of our trust domain wrote it that has seen so many changes more or less.
    fn of_another_server(&self, changes: i64) -> Vec<u8> {
        let mut bundle = self.published().bundle.clone();
        bundle.sequence = bundle.sequence.checked_add_signed(changes).unwrap();
        bundle.to_json()
    }

    /// What says more changes than ours, and holds nothing of ours.
    fn forged(&self) -> Vec<u8> {
        let mut bundle = self.published().bundle.clone();
        bundle.sequence += 1_000_000;
        bundle.x509_authorities = vec![ForeignCa::new("somebody").der().into()];
        bundle.jwt_authorities = Vec::new();
        bundle.to_json()
    }

    fn outlook(&self) -> Outlook {
        self.harness.parts.rotator.outlook(AuthorityKind::X509Root, self.harness.now())
    }

    async fn orders(&mut self, kind: OrderKind) -> Result<(), OrderError> {
        let now = self.harness.now();
        let rotator = &mut self.harness.parts.rotator;
        rotator.obey(&super::keys::order(kind, AuthorityKind::X509Root), now).await?;
        // What is made below a new root comes by itself.
        rotator.turn(now).await.unwrap();
        Ok(())
    }
}

#[tokio::test]
async fn files_are_written_whole_with_their_modes_and_are_soon_as_they_were() {
    let mut site = Site::open(FILES).await;
    let folder = site.harness.folder.path().join("out");
    site.until("told", |site| site.tells("cannot be written") && site.troubles().len() == 2).await;
    fs::create_dir(&folder).unwrap();
    site.until("written", Site::is_written).await;
    let (pem, json) = (folder.join("bundle.pem"), folder.join("bundle.json"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let reads = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    assert_eq!((mode(&pem), mode(&json), reads(&pem)), (0o644, 0o640, site.pem()));
    let domain = TrustDomain::parse("ci.example.org").unwrap();
    assert_eq!(Bundle::parse(domain, reads(&json).as_bytes()).unwrap().x509_authorities.len(), 1);
    fs::write(&pem, "somebody else's").unwrap();
    site.until("edited", |site| reads(&pem) == site.pem()).await;
    fs::remove_file(&pem).unwrap();
    site.until("deleted", |site| reads(&pem) == site.pem()).await;
    fs::set_permissions(&json, fs::Permissions::from_mode(0o666)).unwrap();
    site.until("opened", |_| mode(&json) == 0o640).await;
    let target = site.harness.folder.path().join("target");
    fs::write(&target, "untouched").unwrap();
    fs::remove_file(&pem).unwrap();
    std::os::unix::fs::symlink(&target, &pem).unwrap();
    site.until("linked", |_| !pem.is_symlink()).await;
    assert_eq!(reads(&target), "untouched", "a link is replaced, never written through");
    site.orders(OrderKind::Prepare).await.unwrap();
    site.until("followed", |site| Site::is_written(site) && reads(&pem) == site.pem()).await;
    assert_eq!(reads(&pem).matches("BEGIN CERTIFICATE").count(), 2);
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn a_new_root_signs_only_when_every_publisher_has_written_it() {
    let mut site = Site::open(FILES).await;
    let folder = site.harness.folder.path().join("out");
    fs::create_dir(&folder).unwrap();
    site.until("written", Site::is_written).await;
    drop(site.stop.take());
    site.orders(OrderKind::Prepare).await.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    site.harness = site.harness.restarted(None).await;
    site.start();
    site.until("told", |site| site.troubles().len() == 2).await;
    site.harness.advance(45 * 60);
    let refused = site.orders(OrderKind::Activate(None)).await.unwrap_err();
    let OrderError::NotNow(NotNow::Unsafe { gate }) = refused else { panic!("{refused:?}") };
    let names: Vec<_> = gate.missing.iter().map(|missing| (missing.kind, missing.waited_for_until)).collect();
    assert_eq!(names, [(HolderKind::Publisher, None); 2], "{gate}");
    assert!(gate.to_string().contains("file ") && gate.to_string().contains("out/bundle.json"), "{gate}");
    let outlook = site.outlook();
    assert_eq!((outlook.troubles.len(), outlook.holders.len()), (2, 2));
    fs::create_dir(&folder).unwrap();
    site.until("written", Site::is_written).await;
    // What waits below the new root has its list out for as long.
    site.harness.advance(60 * 60);
    // Whoever read what somebody else put there reads again within half an hour.
    let edited_at = site.harness.now();
    fs::write(folder.join("bundle.json"), "somebody else's").unwrap();
    site.until("edited", |site| site.has_begun_anew_since(edited_at)).await;
    site.harness.advance(28 * 60);
    let refused = site.orders(OrderKind::Activate(None)).await.unwrap_err();
    let OrderError::NotNow(NotNow::Unsafe { gate }) = refused else { panic!("{refused:?}") };
    assert!(gate.missing.len() == 1 && gate.missing[0].waited_for_until.is_some(), "{gate}");
    site.harness.advance(2 * 60);
    site.orders(OrderKind::Activate(None)).await.unwrap();
}

#[tokio::test]
async fn a_newer_bundle_in_a_file_is_another_server_s_and_stays() {
    let mut site = Site::open(FILES).await;
    let folder = site.harness.folder.path().join("out");
    fs::create_dir(&folder).unwrap();
    site.until("written", Site::is_written).await;
    site.orders(OrderKind::Prepare).await.unwrap();
    site.until("followed", Site::is_written).await;
    let json = folder.join("bundle.json");
    let newer = site.of_another_server(7);
    fs::write(&json, &newer).unwrap();
    site.until("told", |site| site.tells("another server writes for this trust domain")).await;
    let told = site.outlook().troubles.into_iter().next().unwrap();
    assert!(told.0.ends_with("out/bundle.json") && told.1.contains("stop the other server"), "{told:?}");
    // Whatever mode it has meanwhile.
    fs::set_permissions(&json, fs::Permissions::from_mode(0o600)).unwrap();
    site.harness.advance(300);
    fs::write(folder.join("bundle.pem"), "old").unwrap();
    site.until("the other is kept", |site| fs::read_to_string(folder.join("bundle.pem")).unwrap() == site.pem()).await;
    assert_eq!(fs::read(&json).unwrap(), newer);
    fs::write(&json, site.of_another_server(-1)).unwrap();
    site.until("what is older is not", |site| fs::read(&json).unwrap() == site.published().json).await;
    site.until("well", |site| site.troubles().is_empty()).await;
    for foreign in [site.forged(), [site.of_another_server(7), vec![b' '; 1 << 20]].concat()] {
        fs::write(&json, foreign).unwrap();
        site.until("a number alone is no proof", |site| fs::read(&json).unwrap() == site.published().json).await;
    }
}

/// A storage that checks what was signed against what came.
#[derive(Default)]
struct Storage {
    objects: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    troubles: Mutex<VecDeque<Trouble>>,
    asked: Mutex<Vec<Method>>,
    /// Whether we may write alone.
    is_closed: AtomicBool,
}

impl Storage {
    fn gets(&self) -> usize {
        self.asked(&Method::GET)
    }

    fn put(&self, bytes: &[u8]) {
        self.objects.lock().unwrap().insert(OBJECT.to_owned(), ("application/json".to_owned(), bytes.to_vec()));
    }

    fn holds(&self) -> Option<Vec<u8>> {
        self.objects.lock().unwrap().get(OBJECT).map(|(_, bytes)| bytes.clone())
    }

    fn puts(&self) -> usize {
        self.asked(&Method::PUT)
    }

    fn asked(&self, how: &Method) -> usize {
        self.asked.lock().unwrap().iter().filter(|method| *method == how).count()
    }
}

impl Script for Storage {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        self.asked.lock().unwrap().push(head.method.clone());
        let trouble = self.troubles.lock().unwrap().pop_front();
        if let Some(trouble) = trouble {
            return trouble.answer().await;
        }
        let header = |name: &str| {
            let own = head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            own.or_else(|| Some(head.uri.authority()?.to_string()).filter(|_| name == "host"))
        };
        let authorization = header("authorization").unwrap();
        let (_, names) = authorization.split_once("SignedHeaders=").unwrap();
        let signed: Vec<(&str, String)> =
            names.split(',').next().unwrap().split(';').map(|name| (name, header(name).unwrap())).collect();
        let (stamp, digest) = (header("x-amz-date").unwrap(), Digest::of(&body));
        assert_eq!(header("x-amz-content-sha256").unwrap(), digest.to_string());
        let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        let at = time::PrimitiveDateTime::parse(&stamp, format).unwrap().assume_utc();
        let credentials = Credentials {
            access_key_id: "AKIAEXAMPLE".to_owned(),
            secret_access_key: SharedSecret::new(SECRET.into()),
            session_token: None,
        };
        let headers = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let asked = (head.method.as_str(), head.uri.path(), &digest);
        let at = SigningTime::of(at).unwrap();
        let wanted = sign(asked, &headers, ("eu-west-1", "s3"), (&credentials, &at));
        if *wanted != authorization {
            let said = b"<Error><Code>SignatureDoesNotMatch</Code></Error>".to_vec();
            return Trouble::Answer(403, Vec::new(), said).answer().await;
        }
        let path = head.uri.path().to_owned();
        if head.method == Method::PUT {
            let kind = header("content-type").unwrap();
            self.objects.lock().unwrap().insert(path, (kind, body));
            return json_answer(200, &Value::Null);
        }
        if self.is_closed.load(Ordering::SeqCst) {
            return Trouble::Answer(403, Vec::new(), b"<Error><Code>AccessDenied</Code></Error>".to_vec())
                .answer()
                .await;
        }
        let found = self.objects.lock().unwrap().get(&path).cloned();
        match found {
            Some((kind, bytes)) => Response::builder().header("content-type", kind).body(bytes.into()).unwrap(),
            None => Trouble::Answer(404, Vec::new(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec()).answer().await,
        }
    }
}

const OBJECT: &str = "/trust/ci.example.org/bundle.json";

/// With the storage's port and CA in its configuration; a story's lines live as long as the program.
async fn storing(storage: &Arc<Storage>, secret: &str) -> (Site, Scripted) {
    let served = Scripted::serve(Arc::clone(storage)).await;
    let folder = tempfile::tempdir().unwrap().keep();
    let [ca, key] = ["ca.pem", "secret"].map(|name| folder.join(name));
    fs::write(&ca, &served.ca_pem).unwrap();
    fs::write(&key, secret).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let lines = format!(
        "[[publish]]\nform = \"spiffe\"\n[publish.s3]\nbucket = \"trust\"\nkey = \"ci.example.org/bundle.json\"\n\
         region = \"eu-west-1\"\nendpoint = \"https://127.0.0.1:{}\"\nca_file = \"{ca}\"\naccess_key_id = \"AKIAEXAMPLE\"\n\
         secret_access_key_file = \"{key}\"\n",
        served.port,
        ca = ca.display(),
        key = key.display(),
    );
    let site = Site::open(lines.leak()).await;
    (site, served)
}

#[tokio::test]
async fn object_storage_gets_a_signed_put_when_what_it_holds_differs() {
    let storage = Arc::<Storage>::default();
    let (mut site, _served) = storing(&storage, SECRET).await;
    site.until("written", Site::is_written).await;
    let holds = |site: &Site| storage.holds().is_some_and(|bytes| bytes == site.published().json);
    assert!(holds(&site) && storage.puts() == 1);
    assert_eq!(storage.objects.lock().unwrap().get(OBJECT).unwrap().0, "application/json");
    storage.objects.lock().unwrap().clear();
    site.until("deleted", |site| holds(site)).await;
    storage.put(b"{}");
    site.until("changed", |site| holds(site)).await;
    site.orders(OrderKind::Prepare).await.unwrap();
    site.until("followed", |site| holds(site) && Site::is_written(site)).await;
    assert_eq!(storage.puts(), 4);
    site.harness = site.harness.restarted(None).await;
    site.start();
    site.until("found", Site::is_written).await;
    assert_eq!(storage.puts(), 4, "what is there already is not written");
}

#[tokio::test]
async fn a_storage_that_says_no_is_told_and_tried_again() {
    let storage = Arc::<Storage>::default();
    let slow = b"<Error><Code>SlowDown</Code></Error>".to_vec();
    storage.troubles.lock().unwrap().push_back(Trouble::Answer(503, vec![("retry-after", "600")], slow));
    let (site, _served) = storing(&storage, SECRET).await;
    let began = site.harness.now();
    site.until("busy", |site| site.tells("503 Service Unavailable: SlowDown")).await;
    site.until("written", Site::is_written).await;
    assert!(site.harness.now() - began >= Duration::from_secs(600) && site.troubles().is_empty());
    let (wrong, _served) = storing(&storage, "another-secret").await;
    wrong.until("refused", |site| site.tells("SignatureDoesNotMatch")).await;
    assert!(!wrong.is_written());
}

#[tokio::test]
async fn a_newer_bundle_in_object_storage_is_another_server_s_and_stays() {
    let storage = Arc::<Storage>::default();
    let (mut site, _served) = storing(&storage, SECRET).await;
    site.orders(OrderKind::Prepare).await.unwrap();
    site.until("written", Site::is_written).await;
    let (newer, writes) = (site.of_another_server(7), storage.puts());
    storage.put(&newer);
    site.until("told", |site| site.tells("another server writes for this trust domain")).await;
    let looks = storage.gets();
    site.until("looked again", |_| storage.gets() > looks + 1).await;
    assert_eq!((storage.holds(), storage.puts()), (Some(newer), writes));
    storage.put(&site.of_another_server(-1));
    site.until("what is older does not", |site| storage.holds().unwrap() == site.published().json).await;
    for foreign in [site.forged(), vec![b' '; 1 << 20]] {
        storage.put(&foreign);
        site.until("nor does what is foreign", |site| storage.holds().unwrap() == site.published().json).await;
    }
}

#[tokio::test]
async fn what_may_be_written_and_not_read_is_told_as_not_verifiable() {
    let storage = Arc::<Storage>::default();
    storage.is_closed.store(true, Ordering::SeqCst);
    let (mut site, _served) = storing(&storage, SECRET).await;
    site.until("written", Site::is_written).await;
    let doubt = |site: &Site| site.outlook().doubts.into_values().next();
    assert!(doubt(&site).unwrap().contains("give the right to GetObject on the key, and to ListBucket"));
    let (wrote_at, looks) = (site.outlook().holders.remove(0).heard_at, storage.gets());
    site.until("looked again", |_| storage.gets() > looks + 2).await;
    assert_eq!(site.outlook().holders.remove(0).heard_at, wrote_at, "nothing has shown it since");
    assert!(storage.puts() == 1 && site.troubles().is_empty(), "a rotation does not wait for it");
    site.orders(OrderKind::Prepare).await.unwrap();
    site.until("followed", |site| storage.puts() == 2 && Site::is_written(site)).await;
    storage.is_closed.store(false, Ordering::SeqCst);
    site.until("seen", |site| doubt(site).is_none()).await;
    assert_eq!(storage.puts(), 2);
}
