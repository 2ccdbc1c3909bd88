//! Old segments leave the folder; what is left still proves itself, and so does all of it together.

use super::damage::a_history;
use super::*;
use lanyard::store::{
    ArchiveError, ArchiveRequest, Archived, Disproof, Evidence, Flaw, JournalError, JournalReader, Segments,
    SignedCheckpoint, VerifyReport, archive, verify_against,
};
use std::fs;
use time::OffsetDateTime;

const LATER: OffsetDateTime = datetime!(2026-03-02 12:00 UTC);

fn request<'a>(place: &'a Place, kept: usize, to: Option<&'a Path>) -> ArchiveRequest<'a> {
    let (segments, verifier) = (Segments::AllBut(kept), place.signer.verifier());
    ArchiveRequest { segments, to, verifier, by: "uid 7", reason: "the year is over" }
}

fn archived(place: &Place, kept: usize, to: Option<&Path>) -> Archived {
    archive(place.dir(), request(place, kept, to), LATER).unwrap().unwrap()
}

fn audit(dir: &Path, place: &Place, archives: &[PathBuf]) -> Result<VerifyReport, JournalError> {
    let key = Some(place.signer.verifier().key());
    verify_against(dir, Evidence { key, archives, ..Evidence::default() })
}

/// More records, so that there is more to archive.
async fn goes_on(place: &Place) {
    place.clock.advance(Duration::from_secs(86_400));
    let store = place.open();
    for n in 0..9 {
        write(&store, vec![put(&format!("later/{n}"), "1")]).await;
    }
}

#[tokio::test]
async fn the_rest_starts_and_is_proven_and_with_the_archive_all_of_it() {
    for kind in [IndexKind::Memory, IndexKind::Sled] {
        let place = a_history(kind, 900, 20).await;
        let (before, folder) = (content(&place.open()), TempDir::new().unwrap());
        let kept = SignedCheckpoint::load(&place.dir().join("checkpoint")).unwrap();
        let to = folder.path().join("2026");
        let Archived { segments, first, last, .. } = archived(&place, 1, Some(&to));
        assert!(segments >= 2 && first == 1);
        assert_eq!(JournalReader::open(place.dir()).unwrap().next().unwrap().unwrap().position, last + 1);

        let rest = audit(place.dir(), &place, &[]).unwrap();
        assert_eq!((rest.first, rest.proven), (last + 1, 1), "{rest:?}");
        let whole = audit(place.dir(), &place, std::slice::from_ref(&to)).unwrap();
        assert_eq!((whole.first, whole.records, whole.root), (1, rest.records, rest.root));
        assert_eq!(audit(&to, &place, &[]).unwrap().records, last);

        assert_eq!(content(&place.open()), before);
        place.lose_index();
        assert_eq!(content(&place.open()), before, "from the checkpoint and the rest");
        goes_on(&place).await;
        let checkpoints = std::slice::from_ref(&kept);
        let key = Some(place.signer.verifier().key());
        let grown = verify_against(place.dir(), Evidence { key, checkpoints, archives: &[] }).unwrap();
        assert_eq!((grown.first, grown.proven), (last + 1, 2), "what was signed before holds behind it");
    }
}

#[tokio::test]
async fn what_is_archived_again_and_again_stays_one_chain() {
    let place = a_history(IndexKind::Memory, 900, 20).await;
    let folder = TempDir::new().unwrap();
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    let early = SignedCheckpoint::load(&place.dir().join("checkpoint")).unwrap();
    archived(&place, 0, Some(&one));
    goes_on(&place).await;
    archived(&place, 0, Some(&one));
    goes_on(&place).await;
    let Archived { first, last, .. } = archived(&place, 0, Some(&other));
    assert!(audit(place.dir(), &place, &[]).unwrap().first == last + 1);
    assert_eq!(audit(&one, &place, &[]).unwrap().records, first - 1);
    let whole = audit(place.dir(), &place, &[other.clone(), one]).unwrap();
    assert_eq!(whole.first, 1);
    // Something from before needs the archive, and says so.
    let (key, checkpoints) = (Some(place.signer.verifier().key()), std::slice::from_ref(&early));
    let found = verify_against(place.dir(), Evidence { key, checkpoints, archives: &[other] });
    assert!(matches!(found, Err(JournalError::Disproved { why: Disproof::Archived { .. }, .. })), "{found:?}");
}

#[tokio::test]
async fn what_was_removed_stands_in_the_journal_and_what_was_merely_deleted_is_found() {
    let place = a_history(IndexKind::Memory, 900, 20).await;
    let Archived { last, digest, .. } = archived(&place, 1, None);
    let told = JournalReader::open(place.dir()).unwrap().last().unwrap().unwrap();
    let told: serde_json::Value = serde_json::from_str(told.entry.get()).unwrap();
    let wanted = serde_json::json!({
        "kind": "segments_removed", "first": 1, "last": last, "digest": digest, "by": "uid 7", "reason": "the year is over",
    });
    assert_eq!(told, wanted);
    audit(place.dir(), &place, &[]).unwrap();

    // A thief does by hand what the command does, but for the record.
    let place = a_history(IndexKind::Memory, 900, 20).await;
    let segment = place.files("jsonl")[0].clone();
    let checkpoint = fs::read_to_string(&segment).unwrap().lines().last().unwrap().to_owned() + "\n";
    let position = checkpoint[65..].split([':', ',']).nth(1).unwrap().parse::<u64>().unwrap();
    fs::write(place.dir().join(format!("journal/{position:020}.base")), checkpoint).unwrap();
    let found = audit(place.dir(), &place, &[]);
    assert!(matches!(found, Err(JournalError::Broken { why: Flaw::StateDiffers, .. })), "{found:?}");
    let (writer, state) = (a_history(IndexKind::Memory, 900, 20).await, format!("journal/{position:020}.state"));
    archived(&writer, 3, None);
    fs::copy(writer.files("state")[0].clone(), place.dir().join(state)).unwrap();
    fs::remove_file(segment).unwrap();
    let found = audit(place.dir(), &place, &[]);
    let is_found = matches!(found, Err(JournalError::Broken { why: Flaw::MissingUnrecorded | Flaw::StateDiffers, .. }));
    assert!(is_found, "{found:?}");
}

#[tokio::test]
async fn what_a_crash_left_half_archived_is_ended_by_the_next_time() {
    let place = a_history(IndexKind::Memory, 900, 20).await;
    let (before, folder) = (content(&place.open()), TempDir::new().unwrap());
    let all: Vec<_> = place.files("jsonl").into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    archived(&place, 1, Some(folder.path()));
    // As if it had died before the first of them was unlinked.
    for (path, bytes) in &all[..all.len() - 1] {
        fs::write(path, bytes).unwrap();
    }
    let segments = place.files("jsonl").len();
    assert_eq!(content(&place.open()), before);
    audit(place.dir(), &place, &[]).unwrap();
    let again = archive(place.dir(), request(&place, 99, Some(folder.path())), LATER).unwrap();
    assert!(again.is_none() && place.files("jsonl").len() < segments);
    assert_eq!(content(&place.open()), before);
}

#[tokio::test]
async fn nothing_is_archived_under_a_running_server_from_a_harmed_journal_or_over_other_records() {
    let place = a_history(IndexKind::Memory, 900, 20).await;
    let (store, folder) = (place.open(), TempDir::new().unwrap());
    let ask = |place: &Place| archive(place.dir(), request(place, 1, Some(folder.path())), LATER);
    assert!(matches!(ask(&place), Err(ArchiveError::Journal(OpenError::InUse { .. }))));
    drop(store);
    let before: Vec<_> = place.files("jsonl").iter().map(|path| fs::read(path).unwrap()).collect();
    fs::create_dir(folder.path().join("journal")).unwrap();
    let taken = folder.path().join("journal/00000000000000000001.jsonl");
    fs::write(&taken, "another's").unwrap();
    assert!(matches!(ask(&place), Err(ArchiveError::Occupied { path }) if path == taken));
    fs::remove_file(taken).unwrap();
    let harmed = &place.files("jsonl")[1];
    fs::write(harmed, fs::read_to_string(harmed).unwrap().replacen("\"n\":", "\"m\":", 1)).unwrap();
    assert!(matches!(ask(&place), Err(ArchiveError::Journal(OpenError::Journal(_)))));
    fs::write(harmed, &before[1]).unwrap();
    let after: Vec<_> = place.files("jsonl").iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(after, before, "nothing has left");
    assert!(archive(place.dir(), request(&place, 99, None), LATER).unwrap().is_none());
    let old =
        ArchiveRequest { segments: Segments::Before(datetime!(2026-01-01 12:00 UTC)), ..request(&place, 0, None) };
    assert!(archive(place.dir(), old, LATER).unwrap().is_none());
}
