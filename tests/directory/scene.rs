//! A server whose rules need the directory, and jobs of whoever a test likes.

use crate::domain::{BASE, BIND, Domain, PASSWORD};
use crate::support::harness::{Harness, POLICY, start};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// How the server is told of the directory.
pub(crate) struct Told<'a> {
    /// The CA, by its name in the domain's files.
    pub(crate) ca: &'a str,
    /// The server's URL, but for its address.
    pub(crate) scheme: &'a str,
    /// The URL of one that comes before it; none where that is empty.
    pub(crate) before: String,
    /// What accounts stand below.
    pub(crate) base: &'a str,
    /// The ways to an account.
    pub(crate) ways: &'a str,
    /// `[directory.groups]`.
    pub(crate) groups: String,
}

/// The link of GitLab's LDAP provider.
pub(crate) const BY_LINK: &str = "[[directory.account]]\nprovider = \"ldapmain\"\n";

impl Default for Told<'_> {
    fn default() -> Self {
        Self { ca: "ca", scheme: "ldaps", before: String::new(), base: BASE, ways: BY_LINK, groups: String::new() }
    }
}

impl Told<'_> {
    /// The end of the configuration; the password is in a file of the folder.
    pub(crate) fn lines(&self, domain: &Domain, folder: &Path) -> String {
        let Self { ca, scheme, before, base, ways, groups } = self;
        let before = if before.is_empty() { String::new() } else { format!("\"{before}\", ") };
        let (ca, address) = (domain.pki.path(&format!("{ca}.pem")), domain.address);
        put_password(folder, PASSWORD);
        let mut lines = format!(
            "[directory]\nissuers = [\"corp\"]\nurl = [{before}\"{scheme}://{address}\"]\nca_file = \"{}\"\nbind = \"{BIND}\"\n\
             password_file = \"{}\"\nbase = \"{base}\"\nlook_every = \"10s\"\n{ways}",
            ca.display(),
            folder.join("password").display(),
        );
        write!(lines, "[directory.groups]\n{groups}").unwrap();
        lines
    }
}

pub(crate) fn put_password(folder: &Path, password: &str) {
    fs::write(folder.join("password"), password).unwrap();
    fs::set_permissions(folder.join("password"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// The usual rule, and what it needs.
pub(crate) fn needing(need: &str) -> String {
    format!("{POLICY}[rule.need]\n{need}\n")
}

/// A server in this process.
pub(crate) struct Scene {
    pub(crate) harness: Harness,
    pub(crate) secrets: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn of(domain: &Domain, told: &Told<'_>, need: &str) -> Self {
        let secrets = tempfile::TempDir::new().unwrap();
        let lines = told.lines(domain, secrets.path()).leak();
        let harness = Harness::whose_issuer_says(lines, &needing(need), "memory").await;
        Self { harness, secrets }
    }

    pub(crate) fn put_password(&self, password: &str) {
        put_password(self.secrets.path(), password);
    }

    /// The claims of a new job of this user's, with these links.
    pub(crate) fn claims(&self, user_id: u64, identities: Value) -> Map<String, Value> {
        let mut claims = self.harness.issuer.claims(start());
        claims.insert("user_id".to_owned(), json!(user_id.to_string()));
        claims.insert("user_identities".to_owned(), identities);
        claims
    }

    /// What comes of the rule's first need for a job with these claims, and what was said of it. Nothing that was said before
    /// counts.
    pub(crate) async fn judged(&self, claims: &Map<String, Value>) -> (String, String) {
        self.harness.advance(11);
        let token = self.harness.issuer.mint(claims);
        let (_, walk) = self.harness.issuance().explain(&token).await.unwrap();
        let walk = serde_json::to_value(walk).unwrap();
        let need = &walk["rules"][0]["needs"][0];
        let text = |name: &str| need[name].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("got"))
    }

    /// The same for a user whom GitLab links to this DN.
    pub(crate) async fn linked(&self, user_id: u64, dn: &str) -> (String, String) {
        self.judged(&self.claims(user_id, link(dn))).await
    }
}

/// What GitLab says of a user whom its LDAP provider has let in: the DN in lower case.
pub(crate) fn link(dn: &str) -> Value {
    json!([{ "provider": "ldapmain", "extern_uid": dn.to_lowercase() }])
}

/// Where people stand in this domain.
pub(crate) fn dn(name: &str) -> String {
    format!("CN={name},CN=Users,{BASE}")
}
