//! What an auditor finds who kept nothing of a journal but a checkpoint and the key.

use super::damage::a_history;
use super::*;
use lanyard::crypto::Digest;
use lanyard::store::{Disproof, Evidence, Flaw, JournalError, SignedCheckpoint, VerifyReport, verify_against};
use std::fs;

/// The checkpoint that was sent away before whatever happened to the journal.
fn kept_elsewhere(place: &Place) -> SignedCheckpoint {
    SignedCheckpoint::load(&place.dir().join("checkpoint")).unwrap()
}

fn audit(place: &Place, key: &NoteSigner, kept: &SignedCheckpoint) -> Result<VerifyReport, JournalError> {
    let checkpoints = std::slice::from_ref(kept);
    verify_against(place.dir(), Evidence { key: Some(key.verifier().key()), checkpoints, ..Evidence::default() })
}

/// The lines of the whole journal, oldest first, by segment.
fn lines(place: &Place) -> Vec<(PathBuf, Vec<String>)> {
    let read = |path: PathBuf| {
        let lines = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        (path, lines)
    };
    place.files("jsonl").into_iter().map(read).collect()
}

/// Rewrites every line and seals the chain anew: what somebody does who knows the format and has no key.
fn make_anew(place: &Place, change: impl Fn(&str) -> String) {
    let mut prev = "0".repeat(64);
    for (path, lines) in lines(place) {
        let mut made = String::new();
        for line in lines {
            let (head, tail) = line.split_once("\"prev\":\"").unwrap();
            let ((_digest, head), (_prev, tail)) = (head.split_once(' ').unwrap(), tail.split_once('"').unwrap());
            let text = change(&format!("{head}\"prev\":\"{prev}\"{tail}"));
            prev = Digest::of(text.as_bytes()).to_string();
            made.extend([&prev, " ", &text, "\n"]);
        }
        fs::write(path, made).unwrap();
    }
    for state in place.files("state") {
        fs::remove_file(state).unwrap();
    }
}

fn a_day_later(text: &str) -> String {
    text.replace("2026-03-01T", "2026-03-02T")
}

fn broken(found: &Result<VerifyReport, JournalError>) -> (String, u64, u64, Flaw) {
    let Err(error @ JournalError::Broken { segment, position, why }) = found else { panic!("{found:?}") };
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    (name, *position, error.line().unwrap(), *why)
}

fn disproof(found: &Result<VerifyReport, JournalError>) -> &Disproof {
    let Err(JournalError::Disproved { why, .. }) = found else { panic!("{found:?}") };
    why
}

#[tokio::test]
async fn a_checkpoint_of_a_clean_end_proves_every_record() {
    let place = a_history(IndexKind::Memory, 900, 9).await;
    let report = audit(&place, &place.signer, &kept_elsewhere(&place)).unwrap();
    assert_eq!(report.proven, 2, "the one beside the journal, and the one from elsewhere");
    assert_eq!((report.first, report.records), (1, 9 + report.checkpoints));
}

#[tokio::test]
async fn a_tail_that_was_cut_after_a_checkpoint_is_found() {
    let place = a_history(IndexKind::Memory, 64 << 20, 9).await;
    let kept = kept_elsewhere(&place);
    let (path, mut all) = lines(&place).pop().unwrap();
    all.truncate(6);
    fs::write(path, all.join("\n") + "\n").unwrap();
    let found = audit(&place, &place.signer, &kept);
    assert_eq!(*disproof(&found), Disproof::Cut { size: 9, last: 6 });
    place.forget_checkpoint();
    assert_eq!(place.open().list("").unwrap().len(), 6, "from the folder alone nobody can know");
    assert!(matches!(*disproof(&audit(&place, &place.signer, &kept)), Disproof::Cut { size: 9, last: 6 }));
}

#[tokio::test]
async fn a_chain_made_anew_with_later_dates_is_found_where_it_was_signed() {
    let place = a_history(IndexKind::Memory, 900, 9).await;
    let first_checkpoint = lines(&place)[0].1.len() as u64;
    let kept = kept_elsewhere(&place);
    make_anew(&place, a_day_later);
    let found = broken(&audit(&place, &place.signer, &kept));
    assert_eq!(found, ("00000000000000000001.jsonl".to_owned(), first_checkpoint, first_checkpoint, Flaw::TreeDiffers));
}

#[tokio::test]
async fn a_chain_made_anew_that_was_signed_only_elsewhere_is_found_by_that() {
    let place = a_history(IndexKind::Memory, 64 << 20, 9).await;
    let kept = kept_elsewhere(&place);
    make_anew(&place, a_day_later);
    place.forget_checkpoint();
    let found = audit(&place, &place.signer, &kept);
    assert_eq!(*disproof(&found), Disproof::RootDiffers { size: 9, good: 0 });
}

#[tokio::test]
async fn a_chain_made_anew_under_another_key_is_found_by_who_kept_the_key() {
    let (place, other) = (a_history(IndexKind::Memory, 900, 9).await, a_history(IndexKind::Memory, 900, 12).await);
    let first_checkpoint = lines(&other)[0].1.len() as u64;
    let kept = kept_elsewhere(&place);
    let (.., position, why) = broken(&audit(&other, &place.signer, &kept));
    assert_eq!((position, why), (first_checkpoint, Flaw::SignatureDiffers));
    let believed_the_key_beside_it = audit(&other, &other.signer, &kept);
    assert_eq!(*disproof(&believed_the_key_beside_it), Disproof::SignatureDiffers);
}

#[tokio::test]
async fn removed_swapped_and_mixed_lines_are_named_with_file_and_line() {
    type Harm = fn(&mut Vec<String>, &[String]);
    let harms: [(Harm, Flaw, u64); 4] = [
        (|all, _| drop(all.remove(1)), Flaw::PositionDiffers, 2),
        (|all, _| all.swap(1, 2), Flaw::PositionDiffers, 2),
        (|all, other| all[1] = other[1].clone(), Flaw::ChainDiffers, 2),
        (|all, other| all.insert(2, other[2].clone()), Flaw::ChainDiffers, 3),
    ];
    for (harm, flaw, line) in harms {
        let (place, other) = (a_history(IndexKind::Memory, 900, 9).await, a_history(IndexKind::Memory, 700, 9).await);
        // A writer of its own has lines of its own.
        make_anew(&other, |text| text.replace("\"n\":", "\"m\":"));
        let (path, mut all) = lines(&place)[0].clone();
        harm(&mut all, &lines(&other)[0].1);
        fs::write(&path, all.join("\n") + "\n").unwrap();
        let found = broken(&audit(&place, &place.signer, &kept_elsewhere(&place)));
        assert_eq!(found, ("00000000000000000001.jsonl".to_owned(), line, line, flaw));
    }
}

#[tokio::test]
async fn what_is_no_checkpoint_of_this_journal_proves_nothing() {
    let place = a_history(IndexKind::Memory, 900, 9).await;
    let file = place.dir().join("checkpoint");
    let text = fs::read_to_string(&file).unwrap();
    let size = text.lines().nth(1).unwrap();
    for (odd, why) in [
        ("nonsense".to_owned(), Disproof::NotACheckpoint),
        (text.replacen(&format!("\n{size}\n"), "\n3\n", 1), Disproof::SignatureDiffers),
        (text.replace("journal/a", "journal/b"), Disproof::SignatureDiffers),
    ] {
        fs::write(&file, &odd).unwrap();
        let key = Some(place.signer.verifier().key());
        let found = verify_against(place.dir(), Evidence { key, ..Evidence::default() });
        assert_eq!(*disproof(&found), why, "{odd}");
    }
}

#[tokio::test]
async fn records_that_no_signature_covers_are_named_and_a_journal_of_nothing_else_is_not_whole() {
    let audit = |place: &Place| {
        let key = Some(place.signer.verifier().key());
        verify_against(place.dir(), Evidence { key, ..Evidence::default() })
    };
    let place = a_history(IndexKind::Memory, 900, 9).await;
    let clean = audit(&place).unwrap();
    assert_eq!(clean.signed_upto, clean.records);
    place.forget_checkpoint();
    let report = audit(&place).unwrap();
    assert!((1..report.records).contains(&report.signed_upto), "as far as the checkpoints in it: {report:?}");

    let place = a_history(IndexKind::Memory, 64 << 20, 9).await;
    place.clock.advance(Duration::from_secs(3600));
    write(&place.open(), vec![]).await;
    assert_eq!(audit(&place).unwrap().signed_upto, 10);
    place.forget_checkpoint();
    let found = audit(&place);
    assert_eq!(*disproof(&found), Disproof::NothingSigned { first: 1, last: 10 });
    let young = a_history(IndexKind::Memory, 64 << 20, 9).await;
    young.forget_checkpoint();
    assert_eq!(audit(&young).unwrap().signed_upto, 0, "a crash before the first signature");
}
