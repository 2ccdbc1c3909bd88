//! All systems silent, or saying far too much: who needs them hears so in time, and who does not is not touched.
#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test")]

use crate::asking::{Asking, claims, corp, said};
use crate::gerrit::configured;
use lanyard::clock::{Clock as _, ManualClock};
use lanyard::facts::{Configured, GitlabApi, LetIn, Limits, Place};
use lanyard::policy::Outcome;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use time::OffsetDateTime;

/// What a system does with whoever connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Does {
    /// Takes the question and says nothing.
    Nothing,
    /// Answers with a gibibyte, as fast as it is read.
    Floods,
    /// Is not there.
    IsAway,
}

/// Counts those who came, and the bytes that they took.
#[derive(Default)]
struct Counted {
    came: AtomicUsize,
    took: AtomicU64,
}

fn system(does: Does) -> (String, Arc<Counted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let counted = Arc::<Counted>::default();
    let of_thread = Arc::clone(&counted);
    if does == Does::IsAway {
        return (url, counted);
    }
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            of_thread.came.fetch_add(1, Ordering::SeqCst);
            if does == Does::Floods {
                flood(&mut stream, &of_thread.took);
            }
            held.push(stream);
        }
    });
    (url, counted)
}

/// A gibibyte, or what of it is taken.
fn flood(stream: &mut TcpStream, took: &AtomicU64) {
    assert_ne!(stream.read(&mut [0; 4096]).unwrap(), 0);
    let piece = vec![b' '; 1 << 16];
    let mut written = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
    for _ in 0..(1 << 14) {
        written = written.and_then(|()| stream.write_all(&piece));
        if written.is_err() {
            return;
        }
        took.fetch_add(1 << 16, Ordering::SeqCst);
    }
}

fn gitlab(url: String) -> impl FnOnce(PathBuf) -> Arc<dyn Configured> {
    move |token_file| {
        let place = Place { url, let_in: LetIn::GitLab, token_file, ca_pem: None };
        Arc::new(GitlabApi { issuer: corp(), place, limits: Limits::default() })
    }
}

const NEED: &str = "\"job.state\" = \"running\", \"approvals.deployment\" = 1, \"approvals.merge_request\" = 1";

#[tokio::test]
async fn a_gibibyte_is_not_read_and_is_no_answer() {
    let (url, counted) = system(Does::Floods);
    let heard = Asking::of(gitlab(url)).heard(NEED, &claims(&[])).await;
    for fact in ["job.state", "approvals.deployment", "approvals.merge_request"] {
        assert!(said(heard.of(fact)).contains("more than 262144 bytes"), "{heard:?}");
    }
    assert!(counted.took.load(Ordering::SeqCst) < 64 << 20, "what is not read is not sent for long");
}

/// The clock moves only once all have come, so that nobody's speed decides.
#[tokio::test]
async fn a_system_that_says_nothing_is_waited_for_as_long_as_it_is_given_and_by_all_at_once() {
    let (url, counted) = system(Does::Nothing);
    let clock = Arc::new(ManualClock::at(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(86400)));
    let asking = Asking::at(Arc::<ManualClock>::clone(&clock), crate::asking::SECRET, gitlab(url));
    let (rule, claims) = (asking.rule(NEED), claims(&[]));
    let began = clock.now();
    let late = async {
        while counted.came.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        clock.advance(Limits::WITHIN_MAX);
    };
    let (heard, ()) = tokio::join!(asking.facts.ask(&rule, &claims), late);
    assert_eq!(clock.now() - began, Limits::WITHIN_MAX);
    for (_, answer) in heard.iter() {
        assert!(said(Some(answer)).ends_with("no answer within 3 s"), "{heard:?}");
    }
    let refusal = Arc::clone(&rule).hear(heard).unwrap_err();
    assert_eq!(refusal.code(), "fact_unavailable");
    assert!(refusal.to_string().contains("job.state"), "it names what was not to be had: {refusal}");
}

#[tokio::test]
async fn whoever_needs_nothing_asks_nobody_whatever_state_all_systems_are_in() {
    for does in [Does::Nothing, Does::Floods, Does::IsAway] {
        let (url, counted) = system(does);
        let (gerrit_url, of_gerrit) = system(does);
        for (url, counted) in [(url, counted), (gerrit_url, of_gerrit)] {
            let asking = Asking::of(|file| Arc::new(configured(&url, &[("Code-Review", 2)], file)));
            let (rule, claims) = (asking.rule(""), claims(&[]));
            assert!(rule.facts().is_empty());
            let mut hearing = Box::pin(asking.facts.hear(rule, &claims));
            let is_heard =
                std::future::poll_fn(|context| std::task::Poll::Ready(hearing.as_mut().poll(context).is_ready()));
            assert!(is_heard.await, "{does:?}: it does not even wait for another task");
            assert_eq!(counted.came.load(Ordering::SeqCst), 0, "{does:?}");
            let page = asking.metrics.render();
            let asked = page
                .lines()
                .filter(|line| line.starts_with("lanyard_fact_questions_total"))
                .all(|line| line.ends_with(" 0"));
            assert!(asked, "{page}");
        }
    }
}

#[tokio::test]
async fn a_system_that_is_away_is_soon_asked_by_nobody_and_every_need_still_hears_why() {
    let (url, _) = system(Does::IsAway);
    let asking = Asking::of(gitlab(url));
    let rule = asking.rule("\"job.state\" = \"running\"");
    for job in 1..=20 {
        let heard = asking.facts.ask(&rule, &claims(&[("job_id", job.into())])).await;
        assert!(said(heard.of("job.state")).starts_with("unavailable: "), "{heard:?}");
        assert_eq!(rule.needs[0].judge(&heard), Outcome::Unavailable);
    }
    let page = asking.metrics.render();
    for line in [
        r#"lanyard_fact_questions_total{source="corp/gitlab_job",outcome="unavailable"} 5"#,
        r#"lanyard_fact_questions_total{source="corp/gitlab_job",outcome="resting"} 15"#,
        r#"lanyard_fact_source_open{source="corp/gitlab_job"} 1"#,
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
}
