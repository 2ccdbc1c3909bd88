//! Why the store writes nothing now, for those who send work elsewhere meanwhile. It passes by itself.

/// What stands in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The clock stands further behind the last record than a correction explains.
    ClockWentBack,
    /// No room on the disk, but for what may use the reserve.
    DiskFull,
    /// The disk takes no writes, for another reason.
    Unwritable,
}

impl Trouble {
    /// For operators: what is wrong, and where to look.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClockWentBack => "the store: the clock went back, the log says how far",
            Self::DiskFull => "the store: the disk is full, make room",
            Self::Unwritable => "the store: the journal cannot be written, the log says why",
        }
    }
}
