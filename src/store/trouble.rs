//! Why the store writes nothing now, for those who send work elsewhere meanwhile. It passes by itself.

/// What stands in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The clock stands further behind the last record than a correction explains.
    ClockWentBack,
    /// The clock moved further than time passed, and nobody else has said that it is right.
    ClockLeapt,
    /// No room on the disk, but for what may use the reserve.
    DiskFull,
    /// The disk takes no writes, for another reason.
    Unwritable,
}

impl Trouble {
    /// Whether it is the clock that cannot be believed.
    pub const fn is_of_the_clock(self) -> bool {
        matches!(self, Self::ClockWentBack | Self::ClockLeapt)
    }

    /// For operators: what is wrong, and where to look.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClockWentBack => "the store: the clock went back, the log says how far",
            Self::ClockLeapt => "the store: the clock leapt, the log says how far",
            Self::DiskFull => "the store: the disk is full, make room",
            Self::Unwritable => "the store: the journal cannot be written, the log says why",
        }
    }
}
