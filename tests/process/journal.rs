//! The journal as a stranger reads it: lines of a digest and a JSON text.

use crate::place::Place;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// The serial numbers of all certificates that were to be signed.
pub(crate) fn intents(place: &Place) -> BTreeSet<String> {
    let intents = records(place).into_iter().filter(|record| record["entry"]["kind"] == "intent");
    intents.filter_map(|record| record["entry"]["svid"]["serial"].as_str().map(str::to_owned)).collect()
}

/// Every record, oldest first; a line that a crash left unfinished is none.
pub(crate) fn records(place: &Place) -> Vec<Value> {
    let mut records = Vec::new();
    for segment in place.segments() {
        let bytes = fs::read(segment).unwrap();
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        // 64 hex digits and a space stand before the text.
        records.extend(lines.map(|line| serde_json::from_slice::<Value>(&line[65..]).unwrap()));
    }
    records
}
