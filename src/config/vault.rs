//! `[vault]`: the Vault that other settings may send us to, and as whom we come.

use super::ca_file::read_ca_file;
use super::issuer::check_https;
use super::places::in_vault;
use super::section::Section;
use crate::custody::PlacesSettings;
use crate::discovery::read_token;
use crate::telemetry::chain;
use crate::vault::{VaultAuth, VaultSettings};
use std::path::PathBuf;

/// Where a pod finds the token of its service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The ways in; one of them.
const WAYS: [&str; 3] = ["token_file", "approle", "kubernetes"];

/// None where there is no such section, or it does not do.
pub(super) fn read_vault(root: &mut Section<'_, '_>, places: &PlacesSettings) -> Option<VaultSettings> {
    if !root.holds("vault") {
        root.skip("vault");
        if let Some(place) = in_vault(places) {
            let found = format!("nothing, and the place {:?} is in it", place.name);
            root.problem("vault", None, found, "write [vault]: its address, and as whom we come");
        }
        return None;
    }
    let mut vault = root.section("vault");
    let address = vault.parsed("address", "its address, such as \"https://vault.corp.example:8200\"", check_https);
    let address = address.or_else(|| vault.missing("address", "write where it is, with https://"));
    let namespace = vault.parsed("namespace", "a namespace, such as \"team/ci\"", path_part);
    let ca_pem = read_ca_file(&mut vault, "ca_file").map(|(pem, _trust)| pem);
    let given: Vec<_> = WAYS.into_iter().filter(|way| vault.holds(way)).collect();
    let auth = [read_token_file(&mut vault), read_approle(&mut vault), read_kubernetes(&mut vault)];
    match given.as_slice() {
        [] => vault.missing("token_file", "write it, or [vault.approle], or [vault.kubernetes]").unwrap_or_default(),
        [_one] => {}
        [_, second, ..] => {
            vault.problem(second, None, format!("given beside {}", given.join(", ")), "keep one of them");
        }
    }
    vault.finish();
    let address = address?.trim_end_matches('/').to_owned();
    Some(VaultSettings { address, namespace, ca_pem, auth: auth.into_iter().flatten().next()? })
}

fn read_token_file(vault: &mut Section<'_, '_>) -> Option<VaultAuth> {
    secret_file(vault, "token_file").map(VaultAuth::TokenFile)
}

fn read_approle(vault: &mut Section<'_, '_>) -> Option<VaultAuth> {
    let mut approle = way(vault, "approle")?;
    let mount = read_mount(&mut approle, "mount", "approle");
    let role_id = approle.text("role_id", "the role's id");
    let role_id = role_id.or_else(|| approle.missing("role_id", "write the role's id"));
    let secret_id_file = secret_file(&mut approle, "secret_id_file")
        .or_else(|| approle.missing("secret_id_file", "write the file with the secret id"));
    approle.finish();
    Some(VaultAuth::AppRole { mount, role_id: role_id?, secret_id_file: secret_id_file? })
}

fn read_kubernetes(vault: &mut Section<'_, '_>) -> Option<VaultAuth> {
    let mut kubernetes = way(vault, "kubernetes")?;
    let mount = read_mount(&mut kubernetes, "mount", "kubernetes");
    let role = kubernetes.text("role", "the role's name");
    let role = role.or_else(|| kubernetes.missing("role", "write the role's name"));
    let jwt_file = kubernetes.path("jwt_file").unwrap_or_else(|| SERVICE_ACCOUNT_TOKEN.into());
    kubernetes.finish();
    Some(VaultAuth::Jwt { mount, role: role?, jwt_file })
}

fn way<'r, 't>(vault: &mut Section<'r, 't>, key: &'static str) -> Option<Section<'r, 't>> {
    if vault.holds(key) {
        return Some(vault.section(key));
    }
    vault.skip(key);
    None
}

/// Where something is mounted in a Vault.
pub(super) fn read_mount(section: &mut Section<'_, '_>, key: &'static str, usual: &str) -> String {
    let mount = section.parsed(key, &format!("where it is mounted, such as \"{usual}\""), path_part);
    mount.unwrap_or_else(|| usual.to_owned())
}

/// A file with a token that only we can read; it must do already now.
pub(super) fn secret_file(section: &mut Section<'_, '_>, key: &'static str) -> Option<PathBuf> {
    let line = section.line_of(key);
    let path = section.path(key)?;
    if let Err(error) = read_token(&path) {
        section.problem(key, line, chain(&error), "put the secret alone into a file of mode 0600");
    }
    Some(path)
}

/// Part of a path, in which nothing can lead elsewhere.
pub(super) fn path_part(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain);
    let text = text.trim_matches('/');
    if text.split('/').all(is_name) { Ok(text.to_owned()) } else { Err("letters, digits, -, _ and . between slashes") }
}

#[cfg(test)]
mod tests {
    use super::super::{MapEnvironment, Problem, ServerSettings, load_server};
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// A server's file with this section; `secret` is there, in a file of its own.
    fn load(section: &str) -> Result<ServerSettings, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("secret", "hvs.secret");
        fs::set_permissions(folder.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        put("policy.toml", "[[rule]]\nname = \"r\"\nid = \"/{project_path}/-/x\"\nwhen = { issuer = \"corp\" }\n");
        let text = format!(
            "trust_domain = \"ci.example.org\"\ndata_dir = \"data\"\npolicy_file = \"policy.toml\"\n[[issuer]]\nname = \
             \"corp\"\nurl = \"https://gitlab.example\"\naudience = \"https://lanyard.example\"\n{section}"
        );
        put("server.toml", &text);
        load_server(&folder.path().join("server.toml"), &MapEnvironment::default())
    }

    #[test]
    fn a_vault_is_read_with_each_way_in() {
        assert_eq!(load("").unwrap().vault, None);
        for (lines, mount) in [
            ("token_file = \"secret\"", ""),
            ("approle = { role_id = \"r\", secret_id_file = \"secret\" }", "approle"),
            ("approle = { role_id = \"r\", secret_id_file = \"secret\", mount = \"ci/roles/\" }", "ci/roles"),
            ("kubernetes = { role = \"lanyard\" }", "kubernetes"),
        ] {
            let vault = load(&format!("[vault]\naddress = \"https://vault.example:8200/\"\n{lines}")).unwrap().vault;
            let vault = vault.unwrap();
            assert_eq!(vault.address, "https://vault.example:8200");
            match vault.auth {
                VaultAuth::AppRole { mount: found, .. } | VaultAuth::Jwt { mount: found, .. } => {
                    assert_eq!(found, mount);
                }
                VaultAuth::TokenFile(file) => assert!(file.ends_with("secret")),
            }
        }
    }

    #[test]
    fn all_that_is_wrong_with_a_vault_is_found_without_asking_it() {
        for (lines, wanted) in [
            ("", &["vault.address", "vault.token_file"][..]),
            ("address = \"http://vault\"\ntoken_file = \"secret\"", &["vault.address"]),
            ("address = \"https://vault\"\ntoken_file = \"gone\"", &["vault.token_file"]),
            ("address = \"https://vault\"\ntoken_file = \"policy.toml\"", &["vault.token_file"]),
            ("address = \"https://vault\"\ntoken_file = \"secret\"\nca_file = \"secret\"", &["vault.ca_file"]),
            ("address = \"https://vault\"\ntoken_file = \"secret\"\nnamespace = \"../x\"", &["vault.namespace"]),
            ("address = \"https://vault\"\ntoken_file = \"secret\"\ntoken = \"x\"", &["vault.token"]),
            ("address = \"https://vault\"\napprole = {}", &["vault.approle.role_id", "vault.approle.secret_id_file"]),
            (
                "address = \"https://vault\"\nkubernetes = { mount = \"?\" }",
                &["vault.kubernetes.mount", "vault.kubernetes.role"],
            ),
            (
                "address = \"https://vault\"\ntoken_file = \"secret\"\nkubernetes = { role = \"r\" }",
                &["vault.kubernetes"],
            ),
        ] {
            let problems = load(&format!("[vault]\n{lines}")).unwrap_err();
            let mut keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
            keys.sort_unstable();
            assert_eq!(keys, wanted, "{lines}");
        }
    }
}
