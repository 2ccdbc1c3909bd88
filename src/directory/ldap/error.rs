//! Why a directory did not answer, or answered no; and what its numbers mean.

use super::ber::Malformed;
use crate::tls::TlsError;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LdapError {
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The connection ended, or never began.
    #[error("the connection is lost")]
    Lost(#[source] io::Error),
    /// What came is not LDAP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It answered no.
    #[error("it says {0}")]
    Refused(ResultCode),
    /// There is no TLS with it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// More entries fit than the question may have.
    #[error("more entries than were asked for")]
    TooMany,
    /// It sends more than an answer to any question of ours can be.
    #[error("more than 1 MiB in one answer")]
    TooMuch,
}

/// A result that is not success (RFC 4511 §4.1.9), with Active Directory's own word about a refused bind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ResultCode {
    /// The code.
    pub code: u32,
    /// What stands behind `data` in the diagnostic message of a refused bind: a Windows error's number.
    pub data: Option<u32>,
}

impl ResultCode {
    /// There is more than was asked for.
    pub(super) const SIZE_LIMIT: u32 = 4;
    /// The name is in another domain.
    const REFERRAL: u32 = 10;
    /// No entry of that name.
    const NO_SUCH_OBJECT: u32 = 32;
    /// What was given as a name is none.
    const INVALID_DN: u32 = 34;
    /// Who asks is not let in.
    const INVALID_CREDENTIALS: u32 = 49;

    /// Whether there is no entry of the name that was asked about.
    pub(in super::super) const fn is_nowhere(self) -> bool {
        matches!(self.code, Self::REFERRAL | Self::NO_SUCH_OBJECT | Self::INVALID_DN)
    }

    /// Whether it is a bind that no server of the domain would take.
    pub(in super::super) const fn is_of_the_account(self) -> bool {
        self.code == Self::INVALID_CREDENTIALS
    }

    /// Whether it is a bind whose password is wrong: each try counts towards locking the account.
    pub(in super::super) fn is_wrong_password(self) -> bool {
        self.is_of_the_account() && matches!(self.data, Some(0x52e) | None)
    }

    pub(super) fn read(code: u32, diagnostic: &[u8]) -> Self {
        let text = String::from_utf8_lossy(diagnostic);
        let data = text.split_once("data ").map(|(_, rest)| rest.split(|c: char| !c.is_ascii_hexdigit()).next());
        Self { code, data: data.flatten().and_then(|digits| u32::from_str_radix(digits, 16).ok()) }
    }
}

/// Numbers with their meaning; of the server's own words none are told, which are anything.
impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match (self.code, self.data) {
            (1, _) => "it serves nobody who has not bound",
            (8, _) => "it wants TLS",
            (Self::REFERRAL, _) => "that is in another domain",
            (Self::NO_SUCH_OBJECT, _) => "no such entry",
            (Self::INVALID_DN, _) => "that is no DN",
            (49, Some(0x525)) => "no such account",
            (49, Some(0x530)) => "the account may not log in at this hour",
            (49, Some(0x531)) => "the account may not log in from here",
            (49, Some(0x532)) => "the account's password has expired",
            (49, Some(0x533)) => "the account is disabled",
            (49, Some(0x701)) => "the account has expired",
            (49, Some(0x773)) => "the account must change its password",
            (49, Some(0x775)) => "the account is locked",
            (49, _) => "wrong name or password",
            (50, _) => "our account may not read that",
            (51 | 52, _) => "it is busy",
            _ => "no",
        };
        write!(f, "{meaning} (LDAP result {}", self.code)?;
        match self.data {
            Some(data) => write!(f, ", data {data:x})"),
            None => f.write_str(")"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_bind_says_why_in_words() {
        let words = |data: &str| {
            let text =
                format!("80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data {data}, v4563");
            ResultCode::read(49, text.as_bytes())
        };
        for (data, said) in [
            ("52e", "wrong name or password (LDAP result 49, data 52e)"),
            ("525", "no such account (LDAP result 49, data 525)"),
            ("533", "the account is disabled (LDAP result 49, data 533)"),
            ("775", "the account is locked (LDAP result 49, data 775)"),
        ] {
            assert_eq!(words(data).to_string(), said);
        }
        assert!(words("52e").is_wrong_password() && !words("775").is_wrong_password());
        let without = ResultCode::read(49, b"\xff no numbers, data of it");
        assert_eq!((without.data, without.is_wrong_password()), (None, true));
        assert_eq!(ResultCode::read(8, b"").to_string(), "it wants TLS (LDAP result 8)");
    }
}
