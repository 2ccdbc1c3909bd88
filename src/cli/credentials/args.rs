//! What can be asked for, as it is typed.

use std::path::PathBuf;

/// See the words of each.
#[derive(clap::Args, Clone, Debug, Default)]
pub(in crate::cli) struct CredentialArgs {
    /// Keep a JWT-SVID for an audience in a file, and fresh, while the command runs
    #[arg(long, value_name = "AUDIENCE=PATH", value_parser = wished)]
    pub(super) token_file: Vec<Wished>,
    /// Let AWS's SDKs and command line take this role
    #[arg(long, value_name = "ARN", value_parser = role_arn)]
    pub(super) aws_role: Option<String>,
    /// The audience that the role's OIDC provider knows
    #[arg(long, value_name = "AUDIENCE", default_value = "sts.amazonaws.com", requires = "aws_role")]
    pub(super) aws_audience: String,
    /// What AWS calls the session [default: gitlab-job-$CI_JOB_ID]
    #[arg(long, value_name = "NAME", requires = "aws_role", value_parser = session_name)]
    pub(super) aws_session_name: Option<String>,
    /// Log in at this Vault, and give the command its token
    #[arg(long, value_name = "URL", requires = "vault_role", value_parser = https)]
    pub(super) vault_addr: Option<String>,
    /// The role to log in by
    #[arg(long, value_name = "ROLE", requires = "vault_addr")]
    pub(super) vault_role: Option<String>,
    /// Where Vault's jwt method is mounted
    #[arg(long, value_name = "PATH", default_value = "jwt", requires = "vault_addr")]
    pub(super) vault_mount: String,
    /// The audience that the role is bound to [default: Vault's URL]
    #[arg(long, value_name = "AUDIENCE", requires = "vault_addr")]
    pub(super) vault_audience: Option<String>,
}

/// A file, and for whom the token in it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Wished {
    pub(super) audience: String,
    pub(super) path: PathBuf,
}

impl CredentialArgs {
    /// Whether nothing was asked for.
    pub(in crate::cli) const fn is_empty(&self) -> bool {
        self.token_file.is_empty() && self.aws_role.is_none() && self.vault_addr.is_none()
    }
}

/// The last `=` parts the two: audiences are URLs, which may hold one.
fn wished(text: &str) -> Result<Wished, &'static str> {
    match text.rsplit_once('=') {
        Some((audience, path)) if !audience.is_empty() && !path.is_empty() => {
            Ok(Wished { audience: audience.to_owned(), path: path.into() })
        }
        _ => Err(
            "write an audience, '=' and a path, such as https://service.example=/dev/shm/token; the job's own token is named by --id-token-file",
        ),
    }
}

fn role_arn(text: &str) -> Result<String, &'static str> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "iam", "", account, role] if partition.starts_with("aws") => {
            let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
            let is_role = role.strip_prefix("role/").is_some_and(|name| !name.is_empty());
            (is_account && is_role).then(|| text.to_owned())
        }
        _ => None,
    }
    .ok_or("write a role's ARN, such as arn:aws:iam::123456789012:role/deploy")
}

fn session_name(text: &str) -> Result<String, &'static str> {
    let fits = crate::svid::is_session_name(text);
    fits.then(|| text.to_owned()).ok_or("AWS takes 2 to 64 letters, digits and characters of _+=,.@-")
}

fn https(text: &str) -> Result<String, &'static str> {
    let address = text.trim_end_matches('/');
    let is_host =
        address.strip_prefix("https://").is_some_and(|host| !host.is_empty() && !host.contains(['?', '#', '@']));
    is_host.then(|| address.to_owned()).ok_or("write it with https://: what is sent there is as good as a password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_held_against_what_others_take() {
        let file = wished("https://service.test/?a=b=/dev/shm/t").unwrap();
        assert_eq!((file.audience.as_str(), file.path), ("https://service.test/?a=b", "/dev/shm/t".into()));
        assert!(["a", "=b", "a="].into_iter().all(|odd| wished(odd).is_err()));
        for fine in ["arn:aws:iam::123456789012:role/deploy", "arn:aws-us-gov:iam::123456789012:role/path/deploy"] {
            assert!(role_arn(fine).is_ok(), "{fine}");
        }
        for odd in [
            "deploy",
            "arn:aws:iam::1:role/deploy",
            "arn:aws:sts::123456789012:role/x",
            "arn:aws:iam::123456789012:role/",
        ] {
            assert!(role_arn(odd).is_err(), "{odd}");
        }
        assert_eq!(https("https://vault.test:8200/").as_deref(), Ok("https://vault.test:8200"));
        assert!(https("http://vault.test").is_err() && https("https://").is_err());
        assert!(session_name("gitlab-job-7").is_ok() && session_name("spiffe://td/x").is_err());
    }
}
