//! What power cuts, kills and hands do to sled's files: the next start heals every one of them, with nothing lost.

use super::harm::{Harm, harm};
use super::verdicts::{Past, a_past, compare};
use super::*;
use lanyard::telemetry::chain;
use std::fmt::Write as _;
use std::fs;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tables/damage/index.txt");

const HEAD: &str = "\
# What a start makes of a harmed sled index, while the journal is whole. Written by tests/store/sled_harm.rs.
# in place: sled, or the records that it lacks, made up for it. set aside: the folder is kept as index.damaged-1 and the
# index made anew from the journal. Either way every key holds what it held.
";

fn index(place: &Place) -> PathBuf {
    place.dir().join("index")
}

fn snapshots(place: &Place) -> Vec<PathBuf> {
    let all = index(place).read_dir().unwrap().map(|file| file.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).collect()
}

fn db(change: impl Fn(&mut Vec<u8>) + 'static) -> impl Fn(&Place) {
    move |place| {
        let path = index(place).join("db");
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

fn index_harms() -> Vec<Harm> {
    let at_snapshots = |change: fn(&Path)| {
        move |place: &Place| {
            assert!(!snapshots(place).is_empty());
            for path in snapshots(place) {
                change(&path);
            }
        }
    };
    vec![
        harm("nothing", |_place| {}),
        harm("a snapshot that a kill left half written", |place| {
            fs::write(index(place).join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
        }),
        harm("an empty snapshot", at_snapshots(|path| fs::write(path, b"").unwrap())),
        harm(
            "a snapshot cut in the middle",
            at_snapshots(|path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            }),
        ),
        harm("a snapshot of nonsense", at_snapshots(|path| fs::write(path, b"not what sled wrote").unwrap())),
        harm("no snapshot", at_snapshots(|path| fs::remove_file(path).unwrap())),
        harm("db emptied", db(Vec::clear)),
        harm("db cut after 100 bytes", db(|bytes| bytes.truncate(100))),
        harm("the first 4096 bytes of db zeroed", db(|bytes| bytes[..4096].fill(0))),
        harm("all of db zeroed", db(|bytes| bytes.fill(0))),
        harm("db of nonsense", db(|bytes| *bytes = b"not what sled wrote".to_vec())),
        harm("no db", |place| fs::remove_file(index(place).join("db")).unwrap()),
        harm("conf of nonsense", |place| fs::write(index(place).join("conf"), b"not what sled wrote").unwrap()),
        harm("an empty conf", |place| fs::write(index(place).join("conf"), b"").unwrap()),
        harm("no conf", |place| fs::remove_file(index(place).join("conf")).unwrap()),
        harm("no blobs", |place| fs::remove_dir_all(index(place).join("blobs")).unwrap()),
        harm("no index", |place| fs::remove_dir_all(index(place)).unwrap()),
        harm("an empty folder", |place| {
            fs::remove_dir_all(index(place)).unwrap();
            fs::create_dir(index(place)).unwrap();
        }),
        harm("a file in its place", |place| {
            fs::remove_dir_all(index(place)).unwrap();
            fs::write(index(place), b"not a folder").unwrap();
        }),
        harm("a link that leads nowhere in its place", |place| {
            fs::remove_dir_all(index(place)).unwrap();
            std::os::unix::fs::symlink("/nonexistent/index", index(place)).unwrap();
        }),
        harm("a damaged one, and nine kept aside before it", |place| {
            (1..=9).for_each(|n| fs::create_dir(place.dir().join(format!("index.damaged-{n}"))).unwrap());
            fs::write(index(place).join("conf"), b"").unwrap();
        }),
    ]
}

/// Opens, and holds the content against what it was; in words, what was done for it.
async fn healed(past: &Past, place: &Place) -> String {
    let store = match place.try_open() {
        Ok(store) => store,
        Err(error) => return format!("refuses: {}", chain(&error).replace(place.dir().to_str().unwrap(), "DATA")),
    };
    assert_eq!(content(&store), past.content);
    write(&store, vec![put("after", "1")]).await;
    drop(store);
    assert_eq!(content(&place.open()).len(), past.content.len() + 1);
    if damage::damaged_folders(place) == 0 { "in place".to_owned() } else { "set aside".to_owned() }
}

#[tokio::test]
async fn each_harm_to_the_index_is_healed() {
    let past = a_past(IndexKind::Sled).await;
    let mut found = HEAD.to_owned();
    for harm in index_harms() {
        let place = past.copy();
        (harm.does)(&place);
        write!(found, "\n{:<45} {}", harm.name, healed(&past, &place).await).unwrap();
    }
    found.push('\n');
    compare(TABLE, &found);
}

#[tokio::test]
async fn wherever_the_index_is_cut_or_zeroed_nothing_is_lost() {
    let past = a_past(IndexKind::Sled).await;
    let whole = fs::read(index(&past.place).join("db")).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut in_place, mut aside) = (0, 0);
    let harms: [fn(&mut Vec<u8>, usize); 2] =
        [Vec::truncate, |bytes, at| bytes.iter_mut().skip(at).take(64).for_each(|byte| *byte = 0)];
    for (step, harm) in (0..24).flat_map(|step| harms.map(|harm| (step, harm))) {
        let place = past.copy();
        let mut bytes = whole.clone();
        harm(&mut bytes, used * step / 24);
        fs::write(index(&place).join("db"), bytes).unwrap();
        match healed(&past, &place).await.as_str() {
            "in place" => in_place += 1,
            "set aside" => aside += 1,
            other => panic!("{step}: {other}"),
        }
    }
    assert!(aside > 0, "{in_place} healed in place: the damage was none");
}
