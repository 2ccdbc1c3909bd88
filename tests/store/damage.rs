//! What crashes, bad disks and busy hands do to the files.

use super::*;
use lanyard::store::{Flaw, JournalError, verify_journal};
use std::fs;

/// A store with some history, closed.
pub(super) async fn a_history(kind: IndexKind, segment_bytes: u64, commits: u32) -> Place {
    let place = Place::new(kind).with_segments_of(segment_bytes);
    let store = place.open();
    for n in 0..commits {
        write(&store, vec![put(&format!("k/{}", n % 7), &format!(r#"{{"n":{n}}}"#))]).await;
    }
    drop(store);
    place
}

pub(super) fn damaged_folders(place: &Place) -> usize {
    let names = place.dir().read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("index.damaged-")).count()
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_at_whatever_byte_it_broke() {
    let place = a_history(IndexKind::Memory, 64 << 20, 3).await;
    let file = place.files("jsonl").pop().unwrap();
    let whole = fs::read(&file).unwrap();
    let last_line = whole.split_inclusive(|byte| *byte == b'\n').next_back().unwrap().len();
    let good = whole.len() - last_line;
    for kept in 0..last_line {
        place.forget_checkpoint();
        fs::write(&file, &whole[..good + kept]).unwrap();
        let report = verify_journal(place.dir(), None).unwrap();
        assert_eq!((report.records, report.torn.is_some()), (2, kept > 0), "{kept} bytes of the last line");
        let store = place.open();
        assert_eq!(
            store.repaired().map(|torn| (torn.offset, torn.bytes)),
            (kept > 0).then_some((good as u64, kept as u64))
        );
        assert_eq!(store.list("").unwrap().len(), 2);
        let told = u64::from(kept > 0);
        assert_eq!(write(&store, vec![]).await, 3 + told, "the place is free again, and it says so");
        drop(store);
        assert!(verify_journal(place.dir(), None).unwrap().torn.is_none());
    }
}

#[tokio::test]
async fn a_record_that_the_index_has_seen_cannot_be_cut_off_unnoticed() {
    let place = a_history(IndexKind::Sled, 64 << 20, 5).await;
    let file = place.files("jsonl").pop().unwrap();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 10]).unwrap();
    assert!(matches!(place.try_open(), Err(OpenError::RecordsRemoved { .. })));
    place.lose_index();
    assert!(matches!(place.try_open(), Err(OpenError::RecordsRemoved { .. })), "the checkpoint tells too");
    place.forget_checkpoint();
    assert_eq!(content(&place.open()).len(), 4, "an operator who accepts the loss says so by deleting both");
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_found_and_located() {
    let place = a_history(IndexKind::Memory, 900, 9).await;
    let segments = place.files("jsonl");
    assert!(segments.len() >= 3);
    for file in segments.iter().chain(&place.files("state")) {
        let whole = fs::read(file).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(file, &changed).unwrap();
            let broken = verify_journal(place.dir(), Some(place.signer.verifier().key())).unwrap_err();
            assert!(points_to(&broken, file, &whole[..at]), "byte {at} of {}: {broken}", file.display());
        }
        fs::write(file, &whole).unwrap();
    }
    verify_journal(place.dir(), Some(place.signer.verifier().key())).unwrap();
}

/// Whether an error names the record that begins after the last line end in `before`.
fn points_to(error: &JournalError, file: &Path, before: &[u8]) -> bool {
    let JournalError::Broken { segment, position, why } = error else { return false };
    let first: u64 = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    if file.extension().unwrap() == "state" {
        return (*position, *why) == (first, Flaw::StateDiffers);
    }
    let lines = before.split(|byte| *byte == b'\n').count() as u64;
    (segment.as_path(), *position) == (file, first + lines - 1)
}

#[tokio::test]
async fn a_changed_journal_does_not_open_and_is_left_as_it_is() {
    let place = a_history(IndexKind::Sled, 64 << 20, 3).await;
    let file = place.files("jsonl").pop().unwrap();
    let text = fs::read_to_string(&file).unwrap().replacen(r#"{"n":1}"#, r#"{"n":7}"#, 1);
    fs::write(&file, &text).unwrap();
    let refusal = place.try_open().unwrap_err();
    let OpenError::Journal(JournalError::Broken { segment, position: 2, why: Flaw::DigestDiffers }) = refusal else {
        panic!("{refusal:?}")
    };
    assert_eq!(segment, file);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_missing_record_and_a_missing_segment_are_found() {
    let place = a_history(IndexKind::Memory, 900, 9).await;
    let segments = place.files("jsonl");
    let whole = fs::read_to_string(&segments[1]).unwrap();
    fs::write(&segments[1], whole.split_once('\n').unwrap().1).unwrap();
    assert!(matches!(verify_journal(place.dir(), None), Err(JournalError::Broken { why: Flaw::PositionDiffers, .. })));
    fs::remove_file(&segments[1]).unwrap();
    assert!(matches!(verify_journal(place.dir(), None), Err(JournalError::Broken { why: Flaw::PositionDiffers, .. })));
}

#[tokio::test]
async fn a_checkpoint_by_another_key_is_found() {
    let place = a_history(IndexKind::Memory, 900, 9).await;
    let found = verify_journal(place.dir(), Some(signer().verifier().key()));
    assert!(matches!(found, Err(JournalError::Broken { why: Flaw::SignatureDiffers, .. })), "{found:?}");
}

#[tokio::test]
async fn a_start_reads_the_last_checkpoint_and_the_tail_only() {
    let place = a_history(IndexKind::Memory, 900, 20).await;
    let before = content(&place.open());
    // Whoever reads the first segment stumbles here.
    let oldest = &place.files("jsonl")[0];
    fs::write(oldest, fs::read_to_string(oldest).unwrap().replacen(r#"{"n":1}"#, r#"{"n":7}"#, 1)).unwrap();
    assert_eq!(content(&place.open()), before);
    let found = verify_journal(place.dir(), None);
    assert!(matches!(found, Err(JournalError::Broken { position: 2, why: Flaw::DigestDiffers, .. })), "{found:?}");
}

#[tokio::test]
async fn a_damaged_checkpoint_is_made_up_for_by_the_one_before() {
    let place = a_history(IndexKind::Memory, 900, 20).await;
    let before = content(&place.open());
    fs::write(place.files("state").pop().unwrap(), "{}\n").unwrap();
    assert_eq!(content(&place.open()), before);
}

#[tokio::test]
async fn a_deleted_index_gives_the_same_content() {
    for segment_bytes in [900, 64 << 20] {
        let place = a_history(IndexKind::Sled, segment_bytes, 20).await;
        let before = content(&place.open());
        place.lose_index();
        assert_eq!(content(&place.open()), before);
        assert_eq!(damaged_folders(&place), 0);
    }
}

/// Runs `harm` on the index folder of a closed store; the next start must heal it.
async fn heals_after(harm: impl FnOnce(&Path)) {
    let place = a_history(IndexKind::Sled, 2000, 40).await;
    let before = content(&place.open());
    harm(&place.dir().join("index"));
    let store = place.open();
    assert_eq!(content(&store), before);
    assert_eq!(damaged_folders(&place), 1, "the damaged index is kept aside");
    write(&store, vec![put("after", "1")]).await;
    drop(store);
    assert_eq!(content(&place.open()).len(), before.len() + 1);
    assert_eq!(damaged_folders(&place), 1, "healed for good");
}

fn snapshots(index: &Path) -> Vec<PathBuf> {
    let all = index.read_dir().unwrap().map(|file| file.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).collect()
}

#[tokio::test]
async fn a_half_written_sled_snapshot_is_healed() {
    heals_after(|index| fs::write(index.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap()).await;
}

#[tokio::test]
async fn an_emptied_sled_snapshot_is_healed() {
    heals_after(|index| {
        let found = snapshots(index);
        assert!(!found.is_empty());
        for path in found {
            fs::write(path, b"").unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_shortened_sled_file_is_healed() {
    heals_after(|index| {
        let file = fs::OpenOptions::new().write(true).open(index.join("db")).unwrap();
        file.set_len(100).unwrap();
    })
    .await;
}

#[tokio::test]
async fn zeroed_blocks_in_the_sled_file_are_healed() {
    heals_after(|index| {
        let path = index.join("db");
        let mut bytes = fs::read(&path).unwrap();
        let upto = bytes.len().min(4096);
        bytes[..upto].fill(0);
        fs::write(path, bytes).unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_index_and_a_journal_of_two_histories_do_not_open_together() {
    // The checkpoint of the other is by another key, so its records differ from there on.
    let (mine, other) = (a_history(IndexKind::Sled, 600, 5).await, a_history(IndexKind::Sled, 600, 5).await);
    mine.lose_index();
    fs::rename(other.dir().join("index"), mine.dir().join("index")).unwrap();
    assert!(matches!(mine.try_open(), Err(OpenError::RecordsRemoved { .. })));
}

#[tokio::test]
async fn an_index_from_yesterday_catches_up() {
    let place = a_history(IndexKind::Sled, 2000, 20).await;
    let (index, yesterday) = (place.dir().join("index"), place.dir().join("yesterday"));
    copy(&index, &yesterday);
    let store = place.open();
    for n in 0..40 {
        write(&store, vec![put(&format!("late/{n}"), "1"), delete("k/3")]).await;
    }
    let before = content(&store);
    drop(store);
    place.lose_index();
    fs::rename(&yesterday, &index).unwrap();
    assert_eq!(content(&place.open()), before);
    assert_eq!(damaged_folders(&place), 0);
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in from.read_dir().unwrap().map(Result::unwrap) {
        let (from, to) = (file.path(), to.join(file.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}
