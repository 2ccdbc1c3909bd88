//! Revocation lists as files beside an SVID: whole sets, in the same state as the rest, and a hook after each.

use crate::support::beside::{Beside, Site, TWO_PROFILES, until, within};
use lanyard::agent::{AgentSettings, FileOutput, OnStop};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What openssl says of a chain with the lists and roots of a folder: nothing if it holds.
fn verify(folder: &Path, chain: &Path) -> String {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder).args(["verify", "-no-CAfile", "-no-CApath", "-no-CAstore", "-crl_check_all"]);
    openssl.args(["-CRLfile", "svid_crl.pem", "-CAfile", "svid_bundle.pem", "-untrusted"]);
    let ran = openssl.args([chain, chain]).output().unwrap();
    if ran.status.success() { String::new() } else { String::from_utf8(ran.stderr).unwrap() }
}

fn lists(folder: &Path) -> usize {
    fs::read_to_string(folder.join("svid_crl.pem")).map_or(0, |text| text.matches("BEGIN X509 CRL").count())
}

/// Another job's agent, whose session ends with it.
fn other_job(site: &Site, files: FileOutput) -> Beside {
    let settings = AgentSettings {
        workload_socket: site.path("other/api.sock"),
        state_dir: site.path("other-state"),
        files: Some(files),
        on_stop: OnStop::EndSession,
        ..site.agent_settings()
    };
    Beside::start(settings, &site.clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_stand_beside_the_svid_and_turn_away_who_has_ended() {
    let mut site = Site::open(TWO_PROFILES).await;
    let work = tempfile::tempdir().unwrap();
    let (folder, others) = (work.path().join("own"), work.path().join("others"));
    let hook = vec!["sh".to_owned(), "-c".to_owned(), format!("echo told >> {}/hook", work.path().display())];
    let agent = site.agent_with_files(FileOutput { crl: true, hook, ..FileOutput::new(folder.clone()) });
    agent.login(site.token()).await.unwrap();
    // Without the lists there are no files at all: a consumer that wants them must not start without.
    let other = other_job(&site, FileOutput::new(others.clone()));
    other.login(site.token()).await.unwrap();
    until(|| others.join("svid.pem").exists()).await;
    assert!(!folder.join("svid.pem").exists());

    site.make_crls().await;
    // Streams are opened again after a while.
    within(async {
        while lists(&folder) == 0 {
            site.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(lists(&folder), 2, "the root's and the intermediate's");
    let others_chain = work.path().join("others.pem");
    fs::copy(others.join("svid.pem"), &others_chain).unwrap();
    for chain in [&folder.join("svid.pem"), &others_chain] {
        assert_eq!(verify(&folder, chain), "");
    }
    let told = || fs::read_to_string(work.path().join("hook")).unwrap_or_default().lines().count();
    until(|| told() > 0).await;
    let before = told();

    other.ended().await;
    within(async {
        while !site.lists_somebody() {
            site.clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    // The server has a list. From here on time stands still: nothing is renewed or asked again, so it must be sent.
    until(|| verify(&folder, &others_chain).contains("certificate revoked")).await;
    assert_eq!(verify(&folder, &folder.join("svid.pem")), "");
    until(|| told() > before).await;
    agent.ended().await;
    site.shut().await;
}
