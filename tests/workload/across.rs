//! Two servers that federate, each asking the other's bundle endpoint, and their jobs, which speak with each other all the time:
//! over either profile, while roots change on both sides, and while one of them is away.

use crate::abroad::{Caller, Service, Visitor};
use crate::rotation::{Traffic, Workload, lanyard};
use crate::support::beside::{Beside, LIMIT, Site, asked, channel, until, within};
use crate::support::issuer::POLICY;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::clock::{Clock as _, ManualClock, SystemClock};
use lanyard::identity::TrustDomain;
use lanyard::wire::lanyard::admin_client::AdminClient;
use lanyard::wire::lanyard::set_bundle_request::Form;
use lanyard::wire::lanyard::{BundleEndpoint, BundleShown, ListBundlesRequest, SetBundleRequest, ShowBundleRequest};
use lanyard::wire::workload::{JwtsvidRequest, ValidateJwtsvidRequest};
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

const OURS: &str = "ci.ours.example";
const THEIRS: &str = "ci.partner.example";
/// Of the rule of both.
const SERVICE: &str = "https://service.test";

/// Longer than what happens before stock clients' eyes, who look at the machine's clock alone: SVIDs live as long, and the
/// test's clock begins behind by most of it.
const SVID_LIFETIME: Duration = Duration::from_secs(60 * 60);
const BEHIND: Duration = Duration::from_secs(55 * 60);

#[derive(Clone, Copy)]
enum By {
    Web,
    Spiffe,
}

/// Both servers on one clock, and a long job at each.
struct Sides {
    clock: Arc<ManualClock>,
    ours: Site,
    theirs: Site,
    jobs: [Beside; 2],
    workloads: [Workload; 2],
}

async fn site(clock: &Arc<ManualClock>, lifetime: Duration, [own, other]: [&str; 2]) -> Site {
    let policy = POLICY.replace("ttl =", &format!("federates_with = [\"{other}\"]\nttl ="));
    let policy = policy.replace("15m", &format!("{}s", lifetime.as_secs()));
    Site::open_by(Arc::clone(clock), &policy, |settings| {
        settings.trust_domain = TrustDomain::parse(own).unwrap();
        settings.doors.bundle = vec!["127.0.0.1:0".parse().unwrap()];
        settings.doors.bundle_spiffe = settings.doors.bundle.clone();
    })
    .await
}

impl Site {
    /// Asks the other's endpoint from now on; known by its SVID it begins with a copy of the other's bundle.
    async fn federate(&self, with: &Self, (name, by): (&str, By)) {
        let mut theirs = AdminClient::new(channel(&with.path("admin.sock")));
        let own = theirs.show_bundle(ShowBundleRequest::default()).await.unwrap().into_inner();
        let [web, spiffe] = with.bundle_urls();
        let (endpoint, form) = match by {
            By::Web => {
                let ca_pem = fs::read(with.path("data/door-ca.pem")).unwrap().into();
                (
                    BundleEndpoint { url: web, profile: "https_web".to_owned(), ca_pem, ..BundleEndpoint::default() },
                    None,
                )
            }
            By::Spiffe => {
                let endpoint_spiffe_id = format!("spiffe://{name}/-/lanyard/bundle-endpoint");
                let profile = "https_spiffe".to_owned();
                let endpoint = BundleEndpoint { url: spiffe, profile, endpoint_spiffe_id, ..BundleEndpoint::default() };
                (endpoint, Some(Form::Spiffe(own.document)))
            }
        };
        let (trust_domain, endpoint) = (name.to_owned(), Some(endpoint));
        let asked = SetBundleRequest { trust_domain, form, endpoint, reason: String::new() };
        AdminClient::new(channel(&self.path("admin.sock"))).set_bundle(asked).await.unwrap();
    }

    async fn listed(&self) -> BundleShown {
        let mut admin = AdminClient::new(channel(&self.path("admin.sock")));
        admin.list_bundles(ListBundlesRequest {}).await.unwrap().into_inner().bundle.remove(0)
    }

    /// Waits until it is listed so.
    async fn listed_so(&self, so: impl Fn(&BundleShown) -> bool) -> BundleShown {
        self.listed_once(so, || {}).await
    }

    /// The same, and lets time pass meanwhile.
    async fn listed_in_time(&self, so: impl Fn(&BundleShown) -> bool) -> BundleShown {
        self.listed_once(so, || self.clock.advance(Duration::from_secs(5))).await
    }

    async fn listed_once(&self, so: impl Fn(&BundleShown) -> bool, pass: impl Fn()) -> BundleShown {
        let mut listed = self.listed().await;
        let seen = async {
            while !so(&listed) {
                pass();
                tokio::time::sleep(Duration::from_millis(20)).await;
                listed = self.listed().await;
            }
        };
        let is_so = tokio::time::timeout(LIMIT, seen).await.is_ok();
        assert!(is_so, "still not so: {listed:?}");
        listed
    }

    async fn long_job(&self) -> Beside {
        let ends_at = (self.clock.now() + Duration::from_secs(5 * 3600)).unix_timestamp();
        let agent = self.agent();
        agent.login(self.issuer.token_with(self.clock.now(), "exp", ends_at)).await.unwrap();
        agent
    }
}

impl Sides {
    async fn federated(by: By) -> Self {
        Box::pin(Self::federated_so(by, Duration::from_secs(15 * 60), Duration::ZERO)).await
    }

    /// Where stock clients look on while time passes.
    async fn watched(by: By) -> Self {
        Box::pin(Self::federated_so(by, SVID_LIFETIME, BEHIND)).await
    }

    async fn federated_so(by: By, lifetime: Duration, behind: Duration) -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock.now().replace_nanosecond(0).unwrap() - behind));
        let ours = site(&clock, lifetime, [OURS, THEIRS]).await;
        let theirs = site(&clock, lifetime, [THEIRS, OURS]).await;
        ours.federate(&theirs, (THEIRS, by)).await;
        theirs.federate(&ours, (OURS, by)).await;
        for side in [&ours, &theirs] {
            side.listed_so(|listed| listed.confirmed_at != 0).await;
        }
        let jobs = [ours.long_job().await, theirs.long_job().await];
        let workloads = [Workload::of(&jobs[0]).await, Workload::of(&jobs[1]).await];
        until(|| workloads[0].roots_of(THEIRS) == 1 && workloads[1].roots_of(OURS) == 1).await;
        Self { clock, ours, theirs, jobs, workloads }
    }

    /// Stock clients of one side's job call the other's.
    async fn calls(&self, from: usize, to: usize, of: &str) {
        let service = self.service(to).await;
        for mut visitor in Visitor::both(&self.jobs[from], of) {
            let said = visitor.visit(&service).await;
            assert!(said.starts_with("ok "), "{}: {said}", visitor.name);
        }
        assert_eq!(service.callers().len(), 2);
    }

    async fn service(&self, of: usize) -> Service {
        Service::of(self.workloads[of].clone(), Arc::clone(&self.clock)).await
    }

    /// Stock clients of each side's job, which call the other's all the time.
    async fn callers(&self) -> [[Caller; 2]; 2] {
        [
            Caller::both(&self.jobs[0], THEIRS, self.service(1).await),
            Caller::both(&self.jobs[1], OURS, self.service(0).await),
        ]
    }

    fn signers(&self) -> [Vec<u8>; 2] {
        [self.workloads[0].signer(), self.workloads[1].signer()]
    }

    fn traffic(&self) -> Traffic {
        let [one, other] = self.workloads.clone();
        Traffic::between(one, other, Arc::clone(&self.clock))
    }
}

/// Shows: FED-8, FED-24.
#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_of_two_trust_domains_call_each_other_s_jobs_over_either_profile() {
    for by in [By::Web, By::Spiffe] {
        let sides = Box::pin(Sides::federated(by)).await;
        sides.calls(0, 1, THEIRS).await;
        sides.calls(1, 0, OURS).await;
    }
}

/// A root prepared, seen at the other side, waited for and activated, while jobs of both sides speak.
async fn rotate(traffic: &Traffic, (side, clock): (&Site, &ManualClock), seen: impl Fn() -> bool) {
    lanyard(side, &["prepare"]).await.unwrap();
    for _ in 0..46 {
        traffic.minute(clock).await;
    }
    // The other side has the next root before it signs.
    until(seen).await;
    lanyard(side, &["activate"]).await.unwrap();
    for _ in 0..16 {
        traffic.minute(clock).await;
    }
}

/// Shows: FED-2, FED-17.
#[tokio::test(flavor = "multi_thread")]
async fn no_handshake_across_fails_while_the_roots_of_both_sides_change_over_either_profile() {
    for by in [By::Web, By::Spiffe] {
        let sides = Box::pin(Sides::federated(by)).await;
        let traffic = sides.traffic();
        let before = sides.signers();
        rotate(&traffic, (&sides.theirs, &sides.clock), || sides.workloads[0].roots_of(THEIRS) == 2).await;
        rotate(&traffic, (&sides.ours, &sides.clock), || sides.workloads[1].roots_of(OURS) == 2).await;
        assert!(sides.signers().iter().zip(&before).all(|(now, before)| now != before));
        // The endpoint's own SVID is below the new root too, and what has come since is still heard.
        for side in [&sides.ours, &sides.theirs] {
            let now = sides.clock.now().unix_timestamp();
            side.listed_so(|listed| listed.problem.is_empty() && now - listed.confirmed_at <= 360).await;
        }
        traffic.running.abort();
        assert_eq!(*traffic.failures.lock().unwrap(), [""; 0]);
    }
}

/// Minutes pass until it is so, and in each of them every caller calls again.
async fn called_until(clock: &ManualClock, callers: &[[Caller; 2]; 2], so: impl Fn() -> bool) {
    for _minute in 0..60 {
        call_again(callers).await;
        if so() {
            return;
        }
        clock.advance(Duration::from_secs(60));
    }
    panic!("still not so");
}

/// Waits for calls that began after this.
async fn call_again(callers: &[[Caller; 2]; 2]) {
    let all = || callers.iter().flatten();
    let seen: Vec<_> = all().map(Caller::made).collect();
    until(|| all().zip(&seen).all(|(caller, seen)| caller.made() >= seen + 2)).await;
}

fn failures(callers: &[[Caller; 2]; 2]) -> Vec<String> {
    callers.iter().flatten().flat_map(Caller::failed).collect()
}

/// Shows: FED-2, FED-3, FED-17, FED-24.
#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_call_the_other_side_s_jobs_all_the_time_while_its_root_is_changed_and_the_old_one_goes() {
    for by in [By::Web, By::Spiffe] {
        let sides = Box::pin(Sides::watched(by)).await;
        let (callers, before) = (sides.callers().await, sides.signers());
        let have = |roots: usize| callers.iter().flatten().all(|caller| caller.roots() == roots);
        for side in [&sides.theirs, &sides.ours] {
            lanyard(side, &["prepare"]).await.unwrap();
        }
        called_until(&sides.clock, &callers, || have(2)).await;
        for side in [&sides.theirs, &sides.ours] {
            // The gate waits for more than stock clients would see by their clock; what it waits for is shown above.
            lanyard(side, &["activate", "--force", "--reason", "all callers hold it"]).await.unwrap();
        }
        let moved = || sides.signers().iter().zip(&before).all(|(now, before)| now != before);
        called_until(&sides.clock, &callers, moved).await;
        for side in [&sides.theirs, &sides.ours] {
            let listed = lanyard(side, &["list"]).await.unwrap();
            let mut keys = listed["keys"].as_array().unwrap().iter();
            let old = keys.find(|key| key["state"] == "old" && key["kind"] == "x509-root").unwrap();
            let old = old["key_id"].as_str().unwrap();
            lanyard(side, &["taint", "--no-wait", old]).await.unwrap();
            lanyard(side, &["revoke", old]).await.unwrap();
        }
        called_until(&sides.clock, &callers, || have(1)).await;
        call_again(&callers).await;
        assert_eq!(failures(&callers), [""; 0]);
        assert!(
            callers.iter().flatten().all(|caller| caller.svids() > 1),
            "each showed an SVID below the next root too"
        );
    }
}

impl Sides {
    /// A token of their job's, for the service.
    async fn theirs_signed(&self) -> String {
        let request = JwtsvidRequest { audience: vec![SERVICE.to_owned()], spiffe_id: String::new() };
        let answer = within(self.jobs[1].workload().fetch_jwtsvid(asked(request))).await.unwrap();
        answer.into_inner().svids.remove(0).svid
    }

    /// What our job's agent says of a token, while time passes for whoever waits.
    async fn verdict(&self, svid: &str) -> Result<String, Status> {
        let request = ValidateJwtsvidRequest { audience: SERVICE.to_owned(), svid: svid.to_owned() };
        let mut workload = self.jobs[0].workload();
        let answered = within(workload.validate_jwtsvid(asked(request)));
        tokio::pin!(answered);
        loop {
            tokio::select! {
                answer = &mut answered => return answer.map(|answer| answer.into_inner().spiffe_id),
                () = tokio::time::sleep(Duration::from_millis(200)) => self.clock.advance(Duration::from_secs(1)),
            }
        }
    }

    async fn seen_at(&self) -> i64 {
        self.ours.listed().await.confirmed_at
    }
}

/// A token whose header names a key that nobody has.
fn invented(svid: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"invented","typ":"JWT"}"#);
    format!("{header}.{}", svid.split_once('.').unwrap().1)
}

/// Shows: FED-17, WAPI-25.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_key_newer_than_the_held_bundle_has_the_other_side_asked_and_made_up_keys_no_more_than_twice_a_minute()
 {
    let sides = Box::pin(Sides::federated(By::Web)).await;
    let of_jwt = ["--kind", "jwt", "--reason", "a drill"];
    lanyard(&sides.theirs, &[&["prepare"], &of_jwt[..]].concat()).await.unwrap();
    lanyard(&sides.theirs, &[&["activate", "--force"], &of_jwt[..]].concat()).await.unwrap();
    let svid = sides.theirs_signed().await;
    // Just seen: there is nothing newer to be had, and nobody waits.
    let before = sides.seen_at().await;
    let refused = sides.verdict(&invented(&svid)).await.unwrap_err();
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("invented"), "{refused}");
    assert_eq!(sides.seen_at().await, before);
    sides.clock.advance(Duration::from_secs(31));
    let (of_theirs, began) = (format!("spiffe://{THEIRS}/"), sides.clock.now().unix_timestamp());
    assert!(sides.verdict(&svid).await.unwrap().starts_with(&of_theirs));
    let asked_at = sides.seen_at().await;
    assert!(asked_at > before && asked_at >= began, "ahead of its turn");
    for _made_up in 0..5 {
        assert!(sides.verdict(&invented(&svid)).await.is_err());
    }
    assert_eq!(sides.seen_at().await, asked_at);
    sides.clock.advance(Duration::from_secs(31));
    for _made_up in 0..5 {
        assert!(sides.verdict(&invented(&svid)).await.is_err());
    }
    assert!(sides.seen_at().await > asked_at, "once more");
}

/// Shows: FED-5, FED-22.
#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_goes_away_is_told_of_and_missed_by_nobody_and_is_heard_again_when_it_comes_back() {
    let mut sides = Box::pin(Sides::watched(By::Spiffe)).await;
    let callers = sides.callers().await;
    sides.theirs.shut().await;
    let away = sides.ours.listed_in_time(|listed| listed.failures > 2 && !listed.warning.is_empty()).await;
    assert!(away.held && away.problem.contains("could not be read"), "{away:?}");
    assert!(away.warning.contains("it was not seen for"), "{away:?}");
    assert_eq!(sides.workloads[0].roots_of(THEIRS), 1, "its workloads are believed as before");
    call_again(&callers).await;
    sides.calls(0, 1, THEIRS).await;
    sides.calls(1, 0, OURS).await;
    sides.theirs.open_again().await;
    let back = sides.ours.listed_in_time(|listed| listed.problem.is_empty()).await;
    assert_eq!((back.failures, back.warning.as_str()), (0, ""));
    // And so does the one that asks: what it was told to ask outlives it.
    sides.ours.shut().await;
    sides.ours.open_again().await;
    assert!(sides.ours.listed().await.held);
    sides.ours.listed_in_time(|listed| listed.confirmed_at != 0).await;
    call_again(&callers).await;
    sides.calls(0, 1, THEIRS).await;
    sides.calls(1, 0, OURS).await;
    assert_eq!(failures(&callers), [""; 0]);
}
