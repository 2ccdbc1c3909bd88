//! SVIDs as files: every layout by openssl's judgement, whole states only, and a hook that is told no secret.

use crate::support::beside::{Site, TWO_PROFILES, until, within};
use lanyard::agent::{AgentSettings, FileOutput, Layout, OnStop, SvidFiles};
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use x509_parser::pem::Pem;

const ALL: [Layout; 5] = [Layout::Pem, Layout::IstioFiles, Layout::Combined, Layout::KafkaPem, Layout::PerTrustDomain];

/// A folder in memory, where SVID keys belong.
fn in_memory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("lanyard").tempdir_in("/dev/shm").unwrap()
}

/// What openssl says, which must be that all is well.
fn openssl(arguments: &[&str]) -> String {
    let ran = Command::new("openssl").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "openssl {arguments:?}: {said}{}", String::from_utf8_lossy(&ran.stderr));
    said
}

/// What stands in a PEM file, in its order.
fn labels(file: &Path) -> Vec<String> {
    Pem::iter_from_buffer(&fs::read(file).unwrap()).map(|pem| pem.unwrap().label).collect()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().mode() & 0o777
}

/// Judges one set: the chain verifies with the roots alone, the key is the leaf's, and its file is its owner's alone.
fn is_a_set(folder: &Path, [chain, key, roots]: [&str; 3]) {
    let [chain, key, roots] = [chain, key, roots].map(|name| folder.join(name));
    let [chain_file, key_file, roots_file] = [&chain, &key, &roots].map(|path| path.to_str().unwrap());
    openssl(&["verify", "-x509_strict", "-CAfile", roots_file, "-untrusted", chain_file, chain_file]);
    let of_leaf = openssl(&["x509", "-in", chain_file, "-noout", "-pubkey"]);
    assert_eq!(openssl(&["pkey", "-in", key_file, "-pubout"]), of_leaf, "{key_file} and {chain_file}");
    // As libpq demands of `sslkey`: no group, no others.
    assert_eq!((mode(&key), mode(&roots)), (0o600, 0o644), "{key_file}");
}

/// Shows: MESH-F1.
#[tokio::test(flavor = "multi_thread")]
async fn every_layout_is_what_its_readers_expect() {
    let (site, folder) = (Site::open(TWO_PROFILES).await, in_memory());
    let files = FileOutput { layouts: ALL.to_vec(), ..FileOutput::new(folder.path().to_owned()) };
    let agent = site.agent_with_files(files);
    agent.login(site.token()).await.unwrap();
    until(|| folder.path().join("truststore.linkerd.pem").exists()).await;
    let path = |name: &str| folder.path().join(name);
    for profile in ["", ".linkerd"] {
        let named = |stem: &str| format!("{stem}{profile}.pem");
        let (combined, keystore) = (named("svid_combined"), named("keystore"));
        for set in [
            [&*named("svid"), &named("svid_key"), &named("svid_bundle")],
            [&named("cert-chain"), &named("key"), &named("root-cert")],
            [&combined, &combined, &named("svid_bundle")],
            [&keystore, &keystore, &named("truststore")],
        ] {
            is_a_set(folder.path(), set);
        }
        let certificate = "CERTIFICATE";
        assert_eq!(labels(&path(&combined)), [certificate, certificate, "PRIVATE KEY"], "HAProxy's order");
        assert_eq!(labels(&path(&keystore)), ["PRIVATE KEY", certificate, certificate], "clear PKCS#8");
        assert_eq!(labels(&path(&named("svid"))), [certificate, certificate]);
    }
    let own = fs::read(path("bundle.ci.example.org.pem")).unwrap();
    assert_eq!(own, fs::read(path("svid_bundle.pem")).unwrap());
    assert_eq!(mode(&path("bundle.ci.example.org.pem")), 0o644);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2 * 9 + 1 + 2,
        "nothing else: one state and the way to it"
    );
}

/// What a reader finds who opens the current state once: the public key in the certificate's place, and the key's own.
fn read_state(folder: &Path) -> std::io::Result<(String, String, String)> {
    let state = folder.join(fs::read_link(folder.join("..data"))?);
    let read = |name: &str| fs::read_to_string(state.join(name));
    Ok((read("svid.pem")?, read("svid_key.pem")?, read("svid_combined.pem")?))
}

/// Shows: MESH-F2.
#[test]
fn a_reader_never_sees_a_mismatched_pair_over_a_thousand_states() {
    let folder = in_memory();
    // The key stands in the certificate's place, so that each state says which it is.
    let publish = |state: u32| {
        let key = state.to_be_bytes();
        let mut files = SvidFiles::with(&[Layout::Pem, Layout::Combined]);
        files.add("", [key.as_slice()], &key, [[0].as_slice()]);
        files.publish(folder.path(), &state.to_string()).unwrap();
    };
    publish(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [0, 1].map(|_| scope.spawn(|| read_until(&done, folder.path())));
        for state in 1..=1000 {
            publish(state);
        }
        done.store(true, Ordering::SeqCst);
        for reader in readers {
            let seen = reader.join().unwrap();
            assert!(seen > 100, "{seen} states were read whole");
        }
    });
}

/// Reads states until told to stop, each of them whole; how many there were. One whose state went by begins anew.
fn read_until(done: &AtomicBool, folder: &Path) -> usize {
    let mut seen = 0;
    while !done.load(Ordering::SeqCst) {
        match read_state(folder) {
            Ok((chain, key, combined)) => {
                assert_eq!(chain.replace("CERTIFICATE", "PRIVATE KEY"), key);
                assert_eq!(combined, format!("{chain}{key}"));
                seen += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
        // A reader of one file never gets half of one.
        match fs::read_to_string(folder.join("svid_combined.pem")) {
            Ok(text) => assert!(text.ends_with("-----END PRIVATE KEY-----\n"), "{text}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
        }
    }
    seen
}

/// Shows: MESH-F2.
#[test]
fn the_state_before_stays_for_readers_that_are_still_in_it_until_the_next() {
    let folder = in_memory();
    let mut states = Vec::new();
    for state in 0..4 {
        let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
        let mut files = SvidFiles::new();
        files.add("", [key.public().spki_der()], key.pkcs8_der(), [[0].as_slice()]);
        files.publish(folder.path(), &state.to_string()).unwrap();
        states.push(folder.path().join(fs::read_link(folder.path().join("..data")).unwrap()));
        let there: Vec<_> = states.iter().map(|state: &PathBuf| state.join("svid_key.pem").exists()).collect();
        let kept: Vec<_> = (0..=state).map(|former| state - former <= 1).collect();
        assert_eq!(there, kept, "its key and the one before, no more");
    }
}

/// Shows: MESH-F2.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_could_not_be_written_are_written_once_they_can_be() {
    let (site, work) = (Site::open(TWO_PROFILES).await, in_memory());
    let folder = work.path().join("files");
    fs::write(&folder, "something else has this name").unwrap();
    let agent = site.agent_with_files(FileOutput::new(folder.clone()));
    agent.login(site.token()).await.unwrap();
    assert_eq!(agent.x509().await.svids.len(), 2, "the socket does not wait for the files");
    fs::remove_file(&folder).unwrap();
    within(async {
        while !folder.join("svid_key.pem").exists() {
            site.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A program that notes how it was called and what it was told, and then does as `more` says.
fn hook(folder: &Path, more: &str) -> Vec<String> {
    let (program, calls) = (folder.join("hook"), folder.join("calls"));
    let text = format!(
        "#!/bin/sh\nenv >> {calls}.env\nprintf '%s\\n' \"call $*\" >> {calls}\nn=$(grep -c ^call {calls})\n{more}\n",
        calls = calls.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
    vec![program.to_str().unwrap().to_owned(), "reload".to_owned(), "a b; $HOME".to_owned()]
}

fn calls(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Shows: MESH-F3.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_is_run_again_and_one_that_hangs_is_ended() {
    let (site, folder, work) = (Site::open(TWO_PROFILES).await, in_memory(), tempfile::tempdir().unwrap());
    let program = hook(work.path(), "case $n in 1) exit 7;; 2) sleep 60 & echo $! > $0.child; wait;; esac");
    let hook_within = Duration::from_secs(1);
    let files = FileOutput { hook: program, hook_within, ..FileOutput::new(folder.path().to_owned()) };
    let agent = site.agent_with_files(files);
    agent.login(site.token()).await.unwrap();
    until(|| calls(work.path()).len() == 1).await;
    // The second try fails by its time, and is the last that does.
    within(async {
        while calls(work.path()).len() < 3 {
            site.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!(calls(work.path()), ["call reload a b; $HOME"; 3], "arguments as they are, no shell");
    let child = fs::read_to_string(work.path().join("hook.child")).unwrap();
    // A zombie that nobody has reaped yet has no command line.
    let command_line = PathBuf::from(format!("/proc/{}/cmdline", child.trim()));
    until(|| fs::read(&command_line).unwrap_or_default().is_empty()).await;
    site.advance(11);
    until(|| calls(work.path()).len() == 4).await;
}

/// A token in its environment, a hook that writes all it is told.
/// Shows: MESH-F3, MESH-F4.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_told_no_secret_and_a_clean_exit_takes_the_keys_away() {
    let (site, folder, work) = (Site::open(TWO_PROFILES).await, in_memory(), tempfile::tempdir().unwrap());
    let program = hook(work.path(), "");
    let (config, token) = (work.path().join("agent.toml"), site.token());
    let text = format!(
        "server = \"{}\"\nserver_ca_file = \"{}\"\nmode = \"pod\"\nstate_dir = \"{}\"\n[listen]\nworkload = \"{}\"\n\
         [files]\nfolder = \"{}\"\nlayout = [\"pem\", \"combined\"]\nhook = {program:?}\nhook_timeout = \"10s\"\n",
        site.url,
        site.path("data/door-ca.pem").display(),
        work.path().join("state").display(),
        site.path("api.sock").display(),
        folder.path().display(),
    );
    fs::write(&config, text).unwrap();
    let mut agent = tokio::process::Command::new(env!("CARGO_BIN_EXE_lanyard"))
        .args(["agent", "--config"])
        .arg(&config)
        .env("LANYARD_ID_TOKEN", &token)
        .env("OF_THE_OPERATOR", "stays")
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until(|| !calls(work.path()).is_empty()).await;
    let key = fs::read_to_string(folder.path().join("svid_key.pem")).unwrap();
    let told = fs::read_to_string(work.path().join("calls.env")).unwrap() + &calls(work.path()).concat();
    assert!(told.contains("OF_THE_OPERATOR=stays"));
    assert!(!told.contains(&token) && !told.contains("LANYARD_ID_TOKEN"), "the job's token");
    assert!(!told.contains(key.lines().nth(1).unwrap()), "the key");

    let pid = rustix::process::Pid::from_raw(i32::try_from(agent.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(within(agent.wait()).await.unwrap().success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no key and no link to one");
}

/// Shows: MESH-F4.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_removed_when_the_agent_stops_even_while_a_hook_hangs() {
    let (site, folder, work) = (Site::open(TWO_PROFILES).await, in_memory(), tempfile::tempdir().unwrap());
    let files = FileOutput { hook: hook(work.path(), "sleep 60"), ..FileOutput::new(folder.path().to_owned()) };
    let settings = AgentSettings { files: Some(files), on_stop: OnStop::EndSession, ..site.agent_settings() };
    let agent = crate::support::beside::Beside::start(settings, &site.clock);
    agent.login(site.token()).await.unwrap();
    until(|| calls(work.path()).len() == 1).await;
    assert!(folder.path().join("svid_key.pem").exists());
    agent.ended().await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Shows: MESH-F4.
#[tokio::test]
async fn a_folder_on_a_disk_is_warned_of_and_one_in_memory_is_not() {
    let site = Site::open(TWO_PROFILES).await;
    for folder in [tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), in_memory()] {
        // Where things are built is on a disk as a rule; coreutils know.
        let judge = Command::new("stat").args(["--file-system", "--format=%T"]).arg(folder.path()).output().unwrap();
        let warned = !matches!(String::from_utf8_lossy(&judge.stdout).trim(), "tmpfs" | "ramfs");
        let work = tempfile::tempdir().unwrap();
        let (config, state) = (work.path().join("agent.toml"), in_memory());
        let text = format!(
            "server = \"{}\"\nmode = \"pod\"\nstate_dir = \"{}\"\n[listen]\nworkload = \"{}\"\n[files]\nfolder = \"{}\"\n",
            site.url,
            state.path().join("agent").display(),
            work.path().join("api.sock").display(),
            folder.path().display(),
        );
        fs::write(&config, text).unwrap();
        let log = work.path().join("log");
        let mut agent = tokio::process::Command::new(env!("CARGO_BIN_EXE_lanyard"))
            .args(["agent", "--config"])
            .arg(&config)
            .stderr(fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = || fs::read_to_string(&log).unwrap();
        // It says so before it waits for anything.
        until(|| said().contains("serving") && work.path().join("api.sock").exists()).await;
        let pid = rustix::process::Pid::from_raw(i32::try_from(agent.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        within(agent.wait()).await.unwrap();
        assert_eq!(said().contains("the SVID's keys are kept on a disk"), warned, "{}", said());
    }
}
