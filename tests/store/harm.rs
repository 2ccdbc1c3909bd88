//! The harms of the table, each with its name: done to the files of a closed store.

use super::*;
use lanyard::crypto::Digest;
use std::fs;

/// One harm.
pub(super) struct Harm {
    pub(super) name: String,
    pub(super) does: Box<dyn Fn(&Place)>,
}

pub(super) fn harm(name: impl Into<String>, does: impl Fn(&Place) + 'static) -> Harm {
    Harm { name: name.into(), does: Box::new(does) }
}

/// A segment of the journal, counted from the oldest or from the newest.
#[derive(Clone, Copy)]
enum Which {
    Oldest,
    /// The last that ends with a checkpoint: a start begins behind it.
    LastFinished,
    Newest,
}

impl Which {
    fn of(self, place: &Place) -> PathBuf {
        let all = place.files("jsonl");
        all[match self {
            Self::Oldest => 0,
            Self::LastFinished => all.len() - 2,
            Self::Newest => all.len() - 1,
        }]
        .clone()
    }

    fn lines(self, place: &Place) -> Vec<String> {
        let text = fs::read_to_string(self.of(place)).unwrap();
        text.split_inclusive('\n').map(str::to_owned).collect()
    }

    fn write(self, place: &Place, lines: &[String]) {
        fs::write(self.of(place), lines.concat()).unwrap();
    }
}

/// Puts the right digest before a changed text: what somebody does who knows the format.
fn made_right(line: &str) -> String {
    let (_digest, text) = line.split_at(65);
    let text = text.trim_end_matches('\n');
    format!("{} {text}\n", Digest::of(text.as_bytes()))
}

/// Changes one line of a segment; `at` counts from its end.
fn line(which: Which, at: usize, change: impl Fn(&str) -> String) -> impl Fn(&Place) {
    move |place| {
        let mut lines = which.lines(place);
        let at = lines.len() - 1 - at;
        let changed = change(&lines[at]);
        assert_ne!(changed, lines[at], "the harm does nothing");
        lines[at] = changed;
        which.write(place, &lines);
    }
}

/// The low bit of the byte that stands so far behind the first occurrence of a text.
fn flipped(after: &'static str, by: usize) -> impl Fn(&str) -> String {
    move |line| {
        let at = line.find(after).unwrap() + by;
        let mut bytes = line.as_bytes().to_vec();
        bytes[at] ^= 1;
        String::from_utf8(bytes).unwrap()
    }
}

/// What stands before the signature in a checkpoint's record.
const SIGNATURE: &str = "\u{2014} ci.example.org/-/lanyard/journal/a ";

/// Another letter or digit, which both hexadecimal and base64 have, so far behind the first occurrence of a text.
fn other(after: &'static str, by: usize) -> impl Fn(&str) -> String {
    move |line| {
        let at = line.find(after).unwrap() + after.len() + by;
        let mut bytes = line.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'b' { b'c' } else { b'b' };
        String::from_utf8(bytes).unwrap()
    }
}

pub(super) fn journal_harms() -> Vec<Harm> {
    let mut harms = vec![harm("nothing", |_place| {})];
    harms.extend(flips());
    harms.extend(checkpoint_harms());
    harms.extend(known_format());
    harms.extend(removals());
    harms.extend(moves());
    harms.extend(strangers());
    harms
}

/// One bit in each part of a line.
fn flips() -> Vec<Harm> {
    let parts: [(&str, &'static str, usize); 11] = [
        ("the digest", "", 5),
        ("the blank after the digest", " {", 0),
        ("the first brace", " {", 1),
        ("the name of a field", "\"position\"", 3),
        ("the position", "\"position\":", 11),
        ("the time", "\"at\":", 14),
        ("the digest of the one before", "\"prev\":", 20),
        ("the entry", "\"entry\":", 12),
        ("a key that was put", "\"put\":{\"k/", 10),
        ("a value that was put", "{\"n\":", 5),
        ("the line's end", "\n", 0),
    ];
    let mut harms = Vec::new();
    for (what, after, by) in parts {
        harms.push(harm(format!("a bit of {what}, last record"), line(Which::Newest, 0, flipped(after, by))));
    }
    for (what, after, by) in parts {
        harms.push(harm(format!("a bit of {what}, last record but one"), line(Which::Newest, 1, flipped(after, by))));
    }
    let oldest = |at, change: fn(&str) -> String| line(Which::Oldest, at, change);
    harms.push(harm("a bit of a record in the oldest segment", line(Which::Oldest, 1, flipped("\"entry\":", 12))));
    harms.push(harm(
        "a byte more in a record of the oldest segment",
        oldest(1, |line| line.replace("{\"n\":", "{ \"n\":")),
    ));
    harms.push(harm("a bit of the oldest checkpoint", line(Which::Oldest, 0, flipped("\"offset\":", 9))));
    harms
}

fn checkpoint_harms() -> Vec<Harm> {
    let last = Which::LastFinished;
    let state = |from_newest: usize, change: fn(&[u8]) -> Vec<u8>| {
        move |place: &Place| {
            let path = place.files("state").into_iter().rev().nth(from_newest).unwrap();
            fs::write(&path, change(&fs::read(&path).unwrap())).unwrap();
        }
    };
    let first_value: fn(&[u8]) -> Vec<u8> =
        |bytes| String::from_utf8_lossy(bytes).replacen("\"n\":1", "\"n\":7", 1).into_bytes();
    vec![
        harm("a bit of the last checkpoint's record", line(last, 0, flipped("\"offset\":", 9))),
        harm("a bit of the last checkpoint's signature", line(last, 0, other(SIGNATURE, 20))),
        harm("the last checkpoint's signature, digest made right", {
            line(last, 0, |line| made_right(&other(SIGNATURE, 20)(line)))
        }),
        harm("the last checkpoint's state, digest made right", {
            line(last, 0, |line| made_right(&other("lanyard-state 1", 20)(line)))
        }),
        harm("a value in the newest state file", state(0, first_value)),
        harm("the newest state file emptied", state(0, |_bytes| Vec::new())),
        harm("the newest state file shortened by a byte", state(0, |bytes| bytes[..bytes.len() - 1].to_vec())),
        harm("the newest state file removed", |place| {
            fs::remove_file(place.files("state").pop().unwrap()).unwrap();
        }),
        harm("both state files spoilt", |place| {
            for path in place.files("state") {
                fs::write(path, "{}\n").unwrap();
            }
        }),
        harm("a state file left half written beside them", |place| {
            fs::write(place.dir().join("journal/00000000000000000099.aside"), "{").unwrap();
        }),
        harm("a state file of a record that is to come", |place| {
            let last = place.files("state").pop().unwrap();
            fs::copy(last, place.dir().join("journal/00000000000000000024.state")).unwrap();
        }),
        harm("a state file of a record that is long to come", |place| {
            let last = place.files("state").pop().unwrap();
            fs::copy(last, place.dir().join("journal/00000000000000000025.state")).unwrap();
        }),
    ]
}

/// By somebody who knows the format, or by another version of ourselves.
fn known_format() -> Vec<Harm> {
    let newest = Which::Newest;
    let last = |change: fn(&str) -> String| line(newest, 0, move |line| made_right(&change(line)));
    vec![
        harm("another value in the last record, digest made right", last(|line| line.replace("\"n\":18", "\"n\":99"))),
        harm("another value in the last record but one, digest made right", {
            line(newest, 1, |line| made_right(&line.replace("\"n\":", "\"n\":9")))
        }),
        harm(
            "an earlier time in the last record, digest made right",
            last(|line| line.replace("12:00:19", "11:00:19")),
        ),
        harm("a field of a version to come, digest made right", last(|line| line.replace("{\"pos", "{\"v\":2,\"pos"))),
        harm(
            "an upper-case digest",
            line(newest, 0, |line| {
                let (digest, rest) = line.split_at(64);
                format!("{}{rest}", digest.to_uppercase())
            }),
        ),
    ]
}

fn removals() -> Vec<Harm> {
    let newest = Which::Newest;
    let drop_lines = |which: Which, from_end: std::ops::Range<usize>| {
        move |place: &Place| {
            let mut lines = which.lines(place);
            let end = lines.len();
            lines.drain(end - from_end.end..end - from_end.start);
            which.write(place, &lines);
        }
    };
    let remove = |chosen: fn(usize) -> std::ops::Range<usize>| {
        move |place: &Place| {
            let all = place.files("jsonl");
            for path in &all[chosen(all.len())] {
                fs::remove_file(path).unwrap();
            }
        }
    };
    vec![
        harm("the last record is gone", drop_lines(newest, 0..1)),
        harm("the last two records are gone", drop_lines(newest, 0..2)),
        harm("the last record but one is gone", drop_lines(newest, 1..2)),
        harm("the newest segment is empty", drop_lines(newest, 0..2)),
        harm("the last checkpoint's record is gone", drop_lines(Which::LastFinished, 0..1)),
        harm("the last checkpoint's line end is gone", line(Which::LastFinished, 0, |line| line.trim_end().to_owned())),
        harm("the newest segment is gone", remove(|all| all - 1..all)),
        harm("the two newest segments are gone", remove(|all| all - 2..all)),
        harm("the oldest segment is gone", remove(|_all| 0..1)),
        harm("a segment in the middle is gone", remove(|all| all - 3..all - 2)),
        harm("the last finished segment is gone", remove(|all| all - 2..all - 1)),
        harm("every segment is gone", remove(|all| 0..all)),
        harm("the journal's folder is gone", |place| fs::remove_dir_all(place.dir().join("journal")).unwrap()),
    ]
}

fn moves() -> Vec<Harm> {
    let newest = Which::Newest;
    vec![
        harm("the last two records change places", move |place| {
            let mut lines = newest.lines(place);
            let end = lines.len();
            lines.swap(end - 1, end - 2);
            newest.write(place, &lines);
        }),
        harm("the last record stands there twice", move |place| {
            let mut lines = newest.lines(place);
            lines.push(lines.last().unwrap().clone());
            newest.write(place, &lines);
        }),
        harm("two segments change places", |place| {
            let all = place.files("jsonl");
            let aside = place.dir().join("aside");
            fs::rename(&all[1], &aside).unwrap();
            fs::rename(&all[2], &all[1]).unwrap();
            fs::rename(aside, &all[2]).unwrap();
        }),
        harm("the newest segment under a number that is taken by nobody", |place| {
            let path = place.files("jsonl").pop().unwrap();
            fs::rename(path, place.dir().join("journal/00000000000000000077.jsonl")).unwrap();
        }),
        harm("a segment under the last number there is, behind the newest", |place| {
            let path = place.files("jsonl").pop().unwrap();
            fs::copy(path, place.dir().join(format!("journal/{}.jsonl", u64::MAX))).unwrap();
        }),
        harm("a state file of the last number there is", |place| {
            let last = place.files("state").pop().unwrap();
            fs::copy(last, place.dir().join(format!("journal/{}.state", u64::MAX))).unwrap();
        }),
        harm("the newest segment under a name that is none of ours", |place| {
            let path = place.files("jsonl").pop().unwrap();
            fs::rename(&path, path.with_extension("jsonl.bak")).unwrap();
        }),
        harm("the newest segment a second time behind itself", |place| {
            let path = place.files("jsonl").pop().unwrap();
            fs::copy(path, place.dir().join("journal/00000000000000000024.jsonl")).unwrap();
        }),
        harm("the newest segment is a folder", |place| {
            let path = place.files("jsonl").pop().unwrap();
            fs::remove_file(&path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        harm("a file of an operator among the segments", |place| {
            fs::write(place.dir().join("journal/README"), "look, do not touch").unwrap();
        }),
    ]
}

/// Bytes that this journal never held.
fn strangers() -> Vec<Harm> {
    let newest = Which::Newest;
    let append = |bytes: &'static [u8]| {
        move |place: &Place| {
            let mut all = fs::read(newest.of(place)).unwrap();
            all.extend_from_slice(bytes);
            fs::write(newest.of(place), all).unwrap();
        }
    };
    vec![
        harm("half a record behind the last", append(b"0123456789abcdef")),
        harm("zeros behind the last record, as a power cut leaves them", append(&[0; 300])),
        harm("a line of nothing behind the last record", append(b"\n")),
        harm("a line of text behind the last record", append(b"all is well\n")),
        harm(
            "zeros in the middle of the last record",
            line(newest, 0, |line| {
                let (start, rest) = line.split_at(80);
                format!("{start}{}{}", "\0".repeat(40), rest.split_at(40).1)
            }),
        ),
        harm("the end of another journal behind this one", |place| {
            append_foreign(place);
        }),
        harm("another journal in the place of this one", |place| {
            let journal = place.dir().join("journal");
            fs::remove_dir_all(&journal).unwrap();
            foreign(place, &journal);
        }),
    ]
}

/// A journal of another server, with the same history in the same segments, signed by another key.
fn foreign(place: &Place, journal: &Path) {
    let other = Place::new(IndexKind::Memory).with_segments_of(place.segment_bytes);
    let store = other.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // On a thread of its own: the test that asks has a runtime already.
    let wrote = thread::scope(|scope| {
        let history = async {
            for n in 0..19 {
                write(&store, vec![put(&format!("k/{n}"), &format!(r#"{{"n":{n}}}"#))]).await;
            }
        };
        scope.spawn(move || runtime.block_on(history)).join()
    });
    wrote.unwrap();
    drop(store);
    damage::copy(&other.dir().join("journal"), journal);
}

fn append_foreign(place: &Place) {
    let aside = TempDir::new().unwrap();
    let journal = aside.path().join("journal");
    foreign(place, &journal);
    let mut last: Vec<_> = journal.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    last.retain(|path| path.extension().is_some_and(|found| found == "jsonl"));
    last.sort();
    let mine = place.files("jsonl").pop().unwrap();
    let bytes = [fs::read(&mine).unwrap(), fs::read(last.pop().unwrap()).unwrap()].concat();
    fs::write(mine, bytes).unwrap();
}
