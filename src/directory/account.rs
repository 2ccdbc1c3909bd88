//! An account as the directory shows it, and whether it is one that may act now.

use super::ldap::Entry;
use super::sid::{Guid, Sid};
use time::OffsetDateTime;

/// What is asked of an account; all must be told. Who may not read one of them learns nothing by its absence.
pub(super) const ATTRIBUTES: [&str; 5] = ["objectGUID", "objectSid", "userAccountControl", COMPUTED, "accountExpires"];

/// Made by the server for each answer: what it says of locking and passwords is true now.
const COMPUTED: &str = "msDS-User-Account-Control-Computed";

/// Bits of `userAccountControl` (MS-ADTS §2.2.16).
const DISABLED: u32 = 0x2;
const LOCKED_OUT: u32 = 0x10;
const NORMAL_ACCOUNT: u32 = 0x200;
/// Trusts between domains, workstations and servers, domain controllers.
const MACHINES: u32 = 0x800 | 0x1000 | 0x2000;
const PASSWORD_EXPIRED: u32 = 0x80_0000;

/// An account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Account {
    /// Names it for good.
    pub(super) guid: Guid,
    /// Names it in its domain.
    pub(super) sid: Sid,
    /// Where it stands now.
    pub(super) dn: String,
    control: u32,
    computed: u32,
    expires: i64,
}

/// What keeps an account from acting.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unfit {
    /// Somebody switched it off.
    #[error("the account is disabled")]
    Disabled,
    /// Its last day is over.
    #[error("the account has expired")]
    Expired,
    /// Too many wrong passwords.
    #[error("the account is locked")]
    Locked,
    /// A computer's, a domain controller's, a trust's.
    #[error("the account is no person's")]
    NotAPerson,
    /// Its password is too old, or must be changed.
    #[error("the account's password has expired")]
    PasswordExpired,
}

/// The directory does not tell what it takes to judge an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the directory does not tell the account's {0}: our own account may not read it")]
pub struct Untold(pub &'static str);

impl Account {
    /// Reads what was found.
    pub(super) fn read(entry: &Entry) -> Result<Self, Untold> {
        let [guid, sid, control, computed, expires] = ATTRIBUTES;
        let number = |name| text(entry, name).and_then(|text| text.parse::<i64>().ok()).ok_or(Untold(name));
        // Bits are written as a signed number of 32 bits.
        let bits =
            |name| Ok(u32::from_ne_bytes(i32::try_from(number(name)?).map_err(|_large| Untold(name))?.to_ne_bytes()));
        Ok(Self {
            guid: Self::guid_of(entry).ok_or(Untold(guid))?,
            sid: entry.value(sid).and_then(|bytes| bytes.try_into().ok()).ok_or(Untold(sid))?,
            dn: entry.dn.clone(),
            control: bits(control)?,
            computed: bits(computed)?,
            expires: number(expires)?,
        })
    }

    /// What names it, where that is told.
    pub(super) fn guid_of(entry: &Entry) -> Option<Guid> {
        let [guid, ..] = ATTRIBUTES;
        entry.value(guid)?.try_into().ok()
    }

    /// What keeps it from acting; what it is comes before how it is.
    pub(super) fn unfit(&self, now: OffsetDateTime) -> Option<Unfit> {
        let is_person = self.control & NORMAL_ACCOUNT != 0 && self.control & MACHINES == 0;
        let both = self.control | self.computed;
        let reasons = [
            (!is_person, Unfit::NotAPerson),
            (both & DISABLED != 0, Unfit::Disabled),
            (has_expired(self.expires, now), Unfit::Expired),
            (both & LOCKED_OUT != 0, Unfit::Locked),
            (both & PASSWORD_EXPIRED != 0, Unfit::PasswordExpired),
        ];
        reasons.into_iter().find_map(|(is, reason)| is.then_some(reason))
    }
}

/// `accountExpires`: steps of 100 ns since 1601 (MS-ADTS §2.3 of MS-DTYP's `FILETIME`); two numbers mean never.
fn has_expired(expires: i64, now: OffsetDateTime) -> bool {
    const STEPS_A_SECOND: i64 = 10_000_000;
    const FROM_1601_TO_1970: i64 = 11_644_473_600;
    let is_never = expires == 0 || expires == i64::MAX;
    !is_never && expires / STEPS_A_SECOND - FROM_1601_TO_1970 <= now.unix_timestamp()
}

fn text<'a>(entry: &'a Entry, name: &str) -> Option<&'a str> {
    std::str::from_utf8(entry.value(name)?).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);
    /// 2026-11-22 12:00 UTC.
    const NOON: i64 = (1_795_348_800 + 11_644_473_600) * 10_000_000;

    /// An entry with these values.
    pub(in super::super) fn entry(control: &str, computed: &str, expires: &str) -> Entry {
        let sid = "S-1-5-21-1-2-3-1104".parse::<Sid>().unwrap();
        let values = [&[7; 16], sid.as_bytes(), control.as_bytes(), computed.as_bytes(), expires.as_bytes()];
        let named =
            ATTRIBUTES.iter().zip(values).map(|(name, value)| (name.to_ascii_lowercase(), vec![value.to_vec()]));
        Entry { dn: "CN=Alice,DC=corp".to_owned(), attributes: named.collect() }
    }

    #[test]
    fn only_a_person_s_account_that_is_open_may_act() {
        for (control, computed, expires, unfit) in [
            ("512", "0", "0", None),
            ("512", "0", "9223372036854775807", None),
            ("66048", "0", "0", None),
            ("262656", "0", "0", None),
            ("514", "0", "0", Some(Unfit::Disabled)),
            ("512", "16", "0", Some(Unfit::Locked)),
            ("512", "8388608", "0", Some(Unfit::PasswordExpired)),
            ("512", "8388624", "0", Some(Unfit::Locked)),
            ("4096", "0", "0", Some(Unfit::NotAPerson)),
            ("532480", "0", "0", Some(Unfit::NotAPerson)),
            ("2080", "0", "0", Some(Unfit::NotAPerson)),
            ("4608", "0", "0", Some(Unfit::NotAPerson)),
            ("0", "0", "0", Some(Unfit::NotAPerson)),
            ("512", "-2147483648", "0", None),
            ("512", "0", "1", Some(Unfit::Expired)),
            ("512", "0", "-1", Some(Unfit::Expired)),
        ] {
            let account = Account::read(&entry(control, computed, expires)).unwrap();
            assert_eq!(account.unfit(NOW), unfit, "{control} {computed} {expires}");
        }
        for (expires, unfit) in [(NOON - 1, true), (NOON, true), (NOON + 9_999_999, true), (NOON + 10_000_000, false)] {
            let account = Account::read(&entry("512", "0", &expires.to_string())).unwrap();
            assert_eq!(account.unfit(NOW) == Some(Unfit::Expired), unfit, "{expires}");
        }
    }

    #[test]
    fn an_attribute_that_is_not_told_is_no_good_news() {
        let whole = entry("512", "0", "0");
        for name in ATTRIBUTES {
            let of = |values: Option<Vec<Vec<u8>>>| {
                let mut less = whole.clone();
                less.attributes.remove(&name.to_ascii_lowercase());
                less.attributes.extend(values.map(|values| (name.to_ascii_lowercase(), values)));
                Account::read(&less)
            };
            for odd in [None, Some(vec![]), Some(vec![b"512".to_vec(), b"512".to_vec()]), Some(vec![b"x".to_vec()])] {
                assert_eq!(of(odd.clone()), Err(Untold(name)), "{name} {odd:?}");
            }
        }
        assert_eq!(Account::read(&entry("99999999999", "0", "0")), Err(Untold("userAccountControl")));
    }
}
