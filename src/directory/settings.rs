//! A directory as it is configured: where it is, as whom we come, how a token leads to an account, which groups have names.

use super::ldap::Place;
use super::sid::Sid;
use crate::tls::ServerTrust;
use crate::token::IssuerName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// See the file's opening words.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// Whose users have accounts in it.
    pub issuers: Vec<IssuerName>,
    /// Its servers, the best first.
    pub servers: Vec<Server>,
    /// Whom we believe to be one of them.
    pub trust: ServerTrust,
    /// As whom we come.
    pub bind: String,
    /// With which password; read for each connection.
    pub password_file: PathBuf,
    /// Below which entry accounts are.
    pub base: String,
    /// How a token leads to an account, in this order.
    pub ways: Vec<Way>,
    /// The groups that rules may ask for, by the names that they use.
    pub groups: BTreeMap<String, Group>,
    /// How often the accounts behind live sessions are looked at.
    pub look_every: Duration,
}

impl DirectorySettings {
    /// An account that is disabled loses its live identities this soon, without another word.
    pub const LOOK_EVERY: Duration = Duration::from_secs(60);
}

/// One of a directory's servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server(pub(super) Place);

/// A URL is none of a directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("neither ldaps:// nor ldap:// with a host")]
pub struct NoServer;

impl Server {
    /// `ldaps://host[:port]`, or `ldap://…` for `StartTLS`: there is no way without TLS.
    ///
    /// # Errors
    /// [`NoServer`].
    pub fn parse(url: &str) -> Result<Self, NoServer> {
        let schemes = [("ldaps://", 636, false), ("ldap://", 389, true)];
        let found = schemes.into_iter().find_map(|(scheme, port, tls)| Some((url.strip_prefix(scheme)?, port, tls)));
        let (rest, usual, start_tls) = found.ok_or(NoServer)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let (host, port) = match rest.rsplit_once(':').filter(|(_, port)| is_port(port)) {
            Some((host, port)) => (host, port.parse().map_err(|_large| NoServer)?),
            None => (rest, usual),
        };
        let is_bare = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        let fits = is_bare && (is_bracketed || !host.contains(':'));
        fits.then(|| Self(Place { host: host.to_owned(), port, start_tls })).ok_or(NoServer)
    }
}

/// One way from a token to an account.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Way {
    /// GitLab's links as it tells them itself, whatever the user lets stand in tokens: by one of the two ways that begin at one.
    Asked(Box<Self>),
    /// A claim of the token's is the value of an attribute.
    Claim {
        /// `user_email` or `user_login`.
        claim: &'static str,
        /// Which attribute.
        attribute: String,
    },
    /// GitLab's link to an identity provider is the value of an attribute.
    Identity {
        /// The provider, as GitLab's configuration names it.
        provider: String,
        /// Which attribute.
        attribute: String,
    },
    /// GitLab's link to this very directory: the account's DN.
    Link {
        /// The provider, as GitLab's configuration names it.
        provider: String,
    },
}

/// A group of the directory, as an operator names it. In it is who gets its rights at login: members of members too, and whose
/// primary group it is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Group {
    /// Where it stands.
    Dn(String),
    /// What it is, wherever it stands.
    Sid(Sid),
}

impl Group {
    /// A SID, or else a DN.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.parse() {
            Ok(sid) => Ok(Self::Sid(sid)),
            Err(_no_sid) if is_dn(text) => Ok(Self::Dn(text.to_owned())),
            Err(_no_sid) => Err("neither a DN nor a SID"),
        }
    }
}

/// The name of a group for which a rule writes its name, or what that stands for.
pub fn group_named(groups: &BTreeMap<String, Group>, text: &str) -> Option<String> {
    let is = |group: &Group| match (group, Group::parse(text)) {
        (Group::Dn(one), Ok(Group::Dn(other))) => dn_parts(one) == dn_parts(&other),
        (Group::Sid(one), Ok(Group::Sid(other))) => *one == other,
        _ => false,
    };
    let by_value = || groups.iter().find(|(_, group)| is(group)).map(|(name, _)| name.clone());
    groups.contains_key(text).then(|| text.to_owned()).or_else(by_value)
}

/// A DN's parts as they are compared: without case, and without the space around them.
pub(super) fn dn_parts(dn: &str) -> Vec<String> {
    dn.split(',').map(|part| part.trim().to_lowercase()).collect()
}

/// Whether a text looks like a DN: the directory itself is the judge of the rest.
pub fn is_dn(text: &str) -> bool {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    text.split_once('=').is_some_and(|(name, rest)| is_name(name.trim()) && !rest.trim().is_empty())
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_with_tls_one_way_or_the_other() {
        for (url, shown) in [
            ("ldaps://dc1.corp.example", "ldaps://dc1.corp.example:636"),
            ("ldaps://dc1.corp.example/", "ldaps://dc1.corp.example:636"),
            ("ldap://dc1.corp.example", "ldap://dc1.corp.example:389"),
            ("ldaps://10.1.2.3:3269", "ldaps://10.1.2.3:3269"),
            ("ldaps://[2001:db8::1]", "ldaps://[2001:db8::1]:636"),
            ("ldap://[2001:db8::1]:3268", "ldap://[2001:db8::1]:3268"),
        ] {
            assert_eq!(Server::parse(url).map(|server| server.0.to_string()).as_deref(), Ok(shown));
        }
        for odd in [
            "dc1",
            "https://dc1",
            "ldaps://",
            "ldaps://:636",
            "ldaps://dc1:99999",
            "ldaps://2001:db8::1",
            "ldap://a/dc=x",
            "ldap://a@b",
        ] {
            assert_eq!(Server::parse(odd), Err(NoServer), "{odd}");
        }
    }

    #[test]
    fn a_group_is_a_sid_or_a_dn() {
        assert!(matches!(Group::parse("S-1-5-21-1-2-3-1104"), Ok(Group::Sid(_))));
        assert!(matches!(Group::parse("CN=release,OU=Groups,DC=corp"), Ok(Group::Dn(_))));
        for odd in ["", "release", "S-1-5", "=x", "CN=", "C N=x", "CN=a\nb"] {
            assert!(Group::parse(odd).is_err(), "{odd}");
        }
    }
}
