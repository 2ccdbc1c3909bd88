//! What the journal says of its own repair: an unfinished last line was cut off.

use super::{Entry, TornTail};
use serde::Serialize;
use serde_json::value::to_raw_value;
use std::io;

#[derive(Serialize)]
struct TailCut<'a> {
    kind: &'static str,
    segment: Option<&'a str>,
    offset: u64,
    bytes: u64,
}

/// The entry that tells of it.
pub(super) fn entry(TornTail { segment, offset, bytes }: &TornTail) -> io::Result<Entry> {
    let segment = segment.file_name().and_then(|name| name.to_str());
    Ok(to_raw_value(&TailCut { kind: "tail_cut", segment, offset: *offset, bytes: *bytes })?)
}
