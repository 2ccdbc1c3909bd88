//! What is asked of every reader: memory and work in proportion to the input, and words that can be shown.

use serde_json::Value;

/// What a reading may allocate for each byte of its input.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// At one time.
    pub at_once: u64,
    /// In all: bounds the work too, since what allocates nothing is one walk over the bytes.
    pub in_all: u64,
    /// By any reading, however small: tables, buffers of the libraries, an error's words, nesting to its limit.
    pub free: u64,
}

impl Cost {
    /// Of a reader that copies what it keeps.
    pub const SMALL: Self = Self { at_once: 16, in_all: 64, free: 64 * 1024 };

    /// Reads, and holds what that allocated on this thread against the size of the input.
    pub fn of<T>(self, bytes: usize, read: impl FnOnce() -> T) -> T {
        let mut value = None;
        let spent = allocation_counter::measure(|| value = Some(read()));
        let bytes = u64::try_from(bytes).unwrap();
        assert!(spent.bytes_max <= self.at_once * bytes + self.free, "{} bytes at once for {bytes}", spent.bytes_max);
        assert!(
            spent.bytes_total <= self.in_all * bytes + 4 * self.free,
            "{} bytes in all for {bytes}",
            spent.bytes_total
        );
        value.expect("it was read")
    }
}

/// A refusal's words go into answers, logs and trailers of HTTP/2: short, and on one line.
pub fn can_be_shown(error: &dyn std::error::Error) {
    let words = error.to_string();
    assert!(words.len() <= 4096, "{} bytes of words", words.len());
    assert!(!words.contains(char::is_control), "{words:?}");
}

/// A member of what a derived reader takes as a struct: an object, or its members in their order.
pub fn member<'v>(value: &'v Value, name: &str, place: usize) -> &'v Value {
    if value.is_array() { &value[place] } else { &value[name] }
}
