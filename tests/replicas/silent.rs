//! A member whose packets are lost without a word, and that is there again.

use crate::fleet::wait_for_quorum;
use crate::lab::{Lab, address, passes, runs_in_lab};
use lanyard::clock::SystemClock;
use lanyard::store::{Etcd as Connected, EtcdSettings};
use lanyard::wire::etcd_channel;
use serde_json::value::RawValue;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For so long it is away: before the next ping, and between two of the times, ever further apart, at which the system sends
/// again what was not confirmed.
const AWAY: [Duration; 2] = [Duration::from_millis(3600), Duration::from_millis(4300)];
/// One attempt that fails yet, and what a busy machine adds; over the old connection it takes until the system tries again.
const ANSWERS_WITHIN: Duration = Duration::from_millis(1900);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_cut_off_answers_long_before_the_old_connection_is_tried() {
    if !runs_in_lab("silent::a_member_that_was_cut_off_answers_long_before_the_old_connection_is_tried") {
        return;
    }
    let (lab, folder, url) = (Lab::new(1), TempDir::new().unwrap(), format!("http://{}:2379", address(0)));
    let mut member = lab.on(0, "etcd");
    member.args(["--listen-client-urls", &url, "--advertise-client-urls", &url, "--log-level", "error"]);
    member.args(["--logger", "zap", "--data-dir"]).arg(folder.path());
    let mut member = member.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_quorum(Duration::from_secs(20));
    let settings = EtcdSettings { prefix: "test/".to_owned(), replica: "a".to_owned(), login: None };
    let channels = Box::new(|| vec![etcd_channel((&address(0), 2379), None).unwrap()]);
    let etcd = Connected::connect(settings, "1", (channels, Arc::new(SystemClock))).unwrap();
    let mut keyring = etcd.put_keyring(RawValue::NULL.to_owned(), None).await.unwrap();
    for away in AWAY {
        passes(0, false);
        tokio::time::sleep(away).await;
        passes(0, true);
        let back = Instant::now();
        keyring = etcd.put_keyring(RawValue::NULL.to_owned(), keyring).await.unwrap();
        println!("away for {away:?}, answered {:?} after it was back", back.elapsed());
        assert!(back.elapsed() < ANSWERS_WITHIN, "{:?} after it was back", back.elapsed());
    }
    drop(etcd);
    let _dead = member.kill().and_then(|()| member.wait());
}
