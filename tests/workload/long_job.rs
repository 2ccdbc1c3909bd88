//! A job of three hours, as its workloads live it; and how it ends from outside.

use crate::support::beside::{Beside, Site, TWO_PROFILES, until, within};
use lanyard::clock::Clock;
use lanyard::svid::inspect_certificate;
use lanyard::wire::lanyard::{AddBanRequest, RevokeSessionsRequest, Selector, admin_client::AdminClient};
use lanyard::wire::workload::X509svidResponse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;
use tonic::{Code, Streaming};

const HOURS: Duration = Duration::from_secs(3 * 3600);
/// An agent renews no later than two thirds through an SVID's quarter of an hour; a minute is how coarse our time is.
const LEFT_AT_LEAST: Duration = Duration::from_secs(4 * 60);

/// When the SVID ends that a message has first.
fn ends(message: &X509svidResponse) -> OffsetDateTime {
    let der = &message.svids[0].x509_svid;
    // The leaf's own length: a sequence with two length bytes.
    let length = 4 + usize::from(u16::from_be_bytes([der[2], der[3]]));
    inspect_certificate(&der[..length]).unwrap().not_after
}

/// A workload that keeps what it was sent: the ends of its SVIDs, and how the stream ended.
#[derive(Clone, Default)]
struct Workload(Arc<Mutex<(Vec<OffsetDateTime>, Option<Code>)>>);

impl Workload {
    fn listen(mut stream: Streaming<X509svidResponse>) -> Self {
        let workload = Self::default();
        let own = workload.clone();
        tokio::spawn(async move {
            loop {
                match stream.message().await {
                    Ok(message) => own.0.lock().unwrap().0.push(ends(&message.unwrap())),
                    Err(status) => return own.0.lock().unwrap().1 = Some(status.code()),
                }
            }
        });
        workload
    }

    fn last(&self) -> Option<OffsetDateTime> {
        self.0.lock().unwrap().0.last().copied()
    }

    fn ended(&self) -> Option<Code> {
        self.0.lock().unwrap().1
    }
}

async fn three_hours(site: &Site) -> (Beside, Workload, OffsetDateTime) {
    let (agent, began) = (site.agent(), site.clock.now());
    let token = site.issuer.token_with(began, "exp", (began + HOURS).unix_timestamp());
    agent.login(token).await.unwrap();
    let workload = Workload::listen(agent.x509_stream().await);
    (agent, workload, began + HOURS)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_three_hours_is_never_without_a_valid_svid_and_then_it_is_over() {
    let site = Site::open(TWO_PROFILES).await;
    let (agent, workload, over) = three_hours(&site).await;
    while site.clock.now() + Duration::from_secs(60) < over {
        // Whoever looks in this minute has an SVID that outlives it.
        let enough = (site.clock.now() + LEFT_AT_LEAST).min(over);
        until(|| workload.last().is_some_and(|last| last >= enough)).await;
        assert_eq!(workload.ended(), None);
        site.advance(1);
    }
    let all: BTreeSet<_> = workload.0.lock().unwrap().0.iter().copied().collect();
    assert!(all.len() > 12, "{} SVIDs in three hours", all.len());
    assert_eq!(all.last(), Some(&over), "the last one ends with the job");
    site.advance(1);
    until(|| workload.ended().is_some()).await;
    assert_eq!(workload.ended(), Some(Code::Unavailable));
    let next = within(agent.x509_stream().await.message()).await.unwrap_err();
    assert_eq!(next.code(), Code::PermissionDenied);
}

fn admin(site: &Site) -> AdminClient<tonic::transport::Channel> {
    AdminClient::new(crate::support::beside::channel(&site.path("admin.sock")))
}

fn of_project(project: &str) -> Selector {
    Selector { project: project.to_owned(), ..Selector::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_ends_is_withdrawn_at_once_and_the_next_job_has_an_identity_again() {
    let site = Site::open(TWO_PROFILES).await;
    let (agent, workload, _) = three_hours(&site).await;
    until(|| workload.last().is_some()).await;
    let asked = |project, dry_run| RevokeSessionsRequest {
        selector: Some(of_project(project)),
        reason: "a drill".to_owned(),
        dry_run,
        limit: 10,
    };
    let mut admin = admin(&site);
    for (project, dry_run, identities) in [("4712", false, 0), ("4711", true, 1)] {
        let answer = admin.revoke_sessions(asked(project, dry_run)).await.unwrap().into_inner();
        assert_eq!(answer.identities, identities);
    }
    assert_eq!(workload.ended(), None);
    let answer = admin.revoke_sessions(asked("acme/payments/api", false)).await.unwrap().into_inner();
    assert_eq!((answer.identities, answer.jobs), (1, 1));
    assert_eq!(answer.svids_end_at, workload.last().unwrap().unix_timestamp());
    until(|| workload.ended().is_some()).await;
    assert_eq!(workload.ended(), Some(Code::Unavailable), "without any renewal, without any time");
    let next = within(agent.x509_stream().await.message()).await.unwrap_err();
    assert_eq!(next.code(), Code::PermissionDenied);

    agent.login(site.token()).await.unwrap();
    let workload = Workload::listen(agent.x509_stream().await);
    until(|| workload.last().is_some()).await;
    let ban =
        AddBanRequest { selector: Some(of_project("4711")), reason: "a drill".to_owned(), ..AddBanRequest::default() };
    let ban = admin.add_ban(ban).await.unwrap().into_inner();
    assert_eq!(ban.ended.unwrap().identities, 1);
    until(|| workload.ended().is_some()).await;
    assert_eq!(agent.login(site.token()).await.unwrap_err().code, "banned");
}
