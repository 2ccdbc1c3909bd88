//! Old segments leave the folder; what is left still proves itself, and so does all of it together.

use super::damage::{a_history, copy, damaged_folders};
use super::verdicts::name;
use super::*;
use lanyard::store::{
    ArchiveError, ArchiveRequest, Archived, Disproof, Evidence, Flaw, JournalError, JournalReader, Segments,
    SignedCheckpoint, VerifyReport, archive, verify_against,
};
use std::fs;
use time::OffsetDateTime;

const LATER: OffsetDateTime = datetime!(2026-03-02 12:00 UTC);

fn request<'a>(place: &'a Place, kept: usize, to: Option<&'a Path>) -> ArchiveRequest<'a> {
    let (segments, signer) = (Segments::AllBut(kept), &place.signer);
    ArchiveRequest { segments, to, signer, by: "uid 7", reason: "the year is over" }
}

fn archived(place: &Place, kept: usize, to: Option<&Path>) -> Archived {
    archive(place.dir(), request(place, kept, to), LATER).unwrap().unwrap()
}

fn audit(dir: &Path, place: &Place, archives: &[PathBuf]) -> Result<VerifyReport, JournalError> {
    let key = Some(place.signer.verifier().key());
    verify_against(dir, Evidence { key, archives, ..Evidence::default() })
}

#[tokio::test]
async fn nothing_is_archived_onto_itself_under_whatever_name() {
    let (place, folder) = (a_history(IndexKind::Memory, 900, 20).await, TempDir::new().unwrap());
    let read = |path: PathBuf| fs::read(path).unwrap();
    let before: Vec<_> = place.files("jsonl").into_iter().map(read).collect();
    let [link, linked] = ["link", "linked"].map(|name| folder.path().join(name));
    std::os::unix::fs::symlink(place.dir(), &link).unwrap();
    fs::create_dir_all(linked.join("journal")).unwrap();
    for path in place.files("jsonl") {
        fs::hard_link(&path, linked.join("journal").join(name(&path))).unwrap();
    }
    for to in [place.dir(), &link, &linked] {
        let refused = archive(place.dir(), request(&place, 1, Some(to)), LATER);
        assert!(matches!(refused, Err(ArchiveError::Itself { .. })), "{}: {refused:?}", to.display());
    }
    let after: Vec<_> = place.files("jsonl").into_iter().map(read).collect();
    assert_eq!(after, before);
}

#[tokio::test]
async fn an_index_that_lacks_archived_records_is_made_anew() {
    let place = a_history(IndexKind::Sled, 900, 3).await;
    let folder = TempDir::new().unwrap();
    let former = folder.path().join("index");
    fs::rename(place.dir().join("index"), &former).unwrap();
    goes_on(&place).await;
    let before = content(&place.open());
    archived(&place, 0, None);
    place.lose_index();
    fs::rename(former, place.dir().join("index")).unwrap();
    assert_eq!(content(&place.open()), before);
    assert_eq!(damaged_folders(&place), 1);
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
    let mut told: serde_json::Value = serde_json::from_str(told.entry.get()).unwrap();
    let signature = told.as_object_mut().unwrap().remove("signature").unwrap();
    assert!(signature.as_str().unwrap().contains(place.signer.verifier().name()));
    let wanted = serde_json::json!({
        "kind": "segments_removed", "first": 1, "last": last, "digest": digest, "by": "uid 7", "reason": "the year is over",
        "at": "2026-03-02T12:00:00Z",
    });
    assert_eq!(told, wanted);
    let report = audit(place.dir(), &place, &[]).unwrap();
    let gone = report.gone.unwrap();
    assert_eq!((gone.last, gone.by.as_str(), gone.at), (last, "uid 7", LATER));
    assert!(report.signed_upto >= last && report.signed_upto < report.records, "{}", report.signed_upto);

    // A thief does by hand what the command does, but for the record.
    let (place, folder) = (a_history(IndexKind::Memory, 900, 20).await, TempDir::new().unwrap());
    let elsewhere = folder.path().join("data");
    copy(place.dir(), &elsewhere);
    let Archived { last, .. } = archive(&elsewhere, request(&place, 1, None), LATER).unwrap().unwrap();
    for ending in ["base", "state"] {
        let name = format!("journal/{last:020}.{ending}");
        fs::copy(elsewhere.join(&name), place.dir().join(name)).unwrap();
    }
    for segment in place.files("jsonl").iter().filter(|path| !elsewhere.join("journal").join(name(path)).exists()) {
        fs::remove_file(segment).unwrap();
    }
    let found = audit(place.dir(), &place, &[]);
    let Err(JournalError::Broken { position, why: Flaw::MissingUnrecorded, .. }) = found else { panic!("{found:?}") };
    assert_eq!(position, last);
}

#[tokio::test]
async fn who_writes_the_folder_and_has_no_key_cannot_remove_records() {
    let place = a_history(IndexKind::Memory, 900, 20).await;
    let other = a_history(IndexKind::Memory, 900, 20).await;
    let Archived { last, .. } = archived(&place, 1, None);
    let file = place.files("jsonl").pop().unwrap();
    let by_the_thief = |text: &str| {
        let (line, account) = text.rsplit_once("{\"kind\":\"segments_removed\"").unwrap();
        let (told, _signature) = account.split_once(",\"signature\"").unwrap();
        (line.to_owned(), format!("{{\"kind\":\"segments_removed\"{told}"))
    };
    let base = place.files("base").pop().unwrap();
    let genuine = fs::read_to_string(&base).unwrap();
    let (line, told) = by_the_thief(&genuine);
    archived(&other, 1, None);
    let of_another = fs::read_to_string(&other.files("base")[0]).unwrap();
    let signature = of_another.split_once(",\"signature\"").unwrap().1;
    for account in [String::new(), format!("{told}}}\n"), format!("{told},\"signature\"{signature}")] {
        fs::write(&base, line.clone() + &account).unwrap();
        let found = audit(place.dir(), &place, &[]);
        let is_found = |why| why == Flaw::MissingUnrecorded;
        assert!(matches!(found, Err(JournalError::Broken { position, why, .. }) if position == last && is_found(why)));
        let start = place.try_open();
        assert!(matches!(start, Err(OpenError::Journal(JournalError::Broken { why, .. })) if is_found(why)));
    }
    fs::write(&base, genuine).unwrap();
    // The record in the journal, too: sealed anew, under no signature.
    let text = fs::read_to_string(&file).unwrap();
    let (before, last_line) = text.trim_end().rsplit_once('\n').map_or(("", text.trim_end()), |split| split);
    let (head, told) = by_the_thief(last_line);
    let body = format!("{}{told}}}}}", head.split_once(' ').unwrap().1);
    let digest = lanyard::crypto::Digest::of(body.as_bytes());
    fs::write(&file, format!("{before}\n{digest} {body}\n").trim_start()).unwrap();
    let found = audit(place.dir(), &place, &[]);
    assert!(matches!(found, Err(JournalError::Broken { why: Flaw::MissingUnrecorded, .. })), "{found:?}");
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
