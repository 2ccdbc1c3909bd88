//! How we come to a token, and how long it is of use.

use super::{VaultAuth, VaultError};
use crate::discovery::read_token;
use serde::Deserialize;
use serde_json::json;
use std::fs;
use std::time::Duration;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// What a login or a renewal gives.
#[derive(Deserialize)]
pub(super) struct Let {
    client_token: String,
    /// In seconds; 0 for a token that does not end.
    lease_duration: u64,
}

/// A token that we logged in for.
pub(super) struct Held {
    pub(super) token: Zeroizing<String>,
    /// From two thirds of its life on, another is got; none if it does not end.
    renew_at: Option<OffsetDateTime>,
}

impl Held {
    pub(super) fn of(granted: Let, now: OffsetDateTime) -> Self {
        let Let { client_token, lease_duration } = granted;
        let renew_at = (lease_duration > 0).then(|| now + two_thirds(lease_duration));
        Self { token: Zeroizing::new(client_token), renew_at }
    }

    pub(super) fn is_fresh(&self, now: OffsetDateTime) -> bool {
        self.renew_at.is_none_or(|at| now < at)
    }
}

/// Of a life in seconds; no longer than a year, whatever Vault says.
pub(super) fn two_thirds(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(365 * 86_400)) * 2 / 3
}

impl Let {
    pub(super) const fn seconds(&self) -> u64 {
        self.lease_duration
    }
}

/// How to come in.
pub(super) enum WayIn {
    /// By what somebody else was let in with.
    Token(Zeroizing<String>),
    /// By a login, with these secrets.
    Login { path: String, body: Zeroizing<Vec<u8>> },
}

pub(super) fn way_in(auth: &VaultAuth) -> Result<WayIn, VaultError> {
    let (mount, body) = match auth {
        VaultAuth::AppRole { mount, role_id, secret_id_file } => {
            let secret_id = read_token(secret_id_file)?;
            (mount, json!({ "role_id": role_id, "secret_id": secret_id.as_str() }))
        }
        VaultAuth::Jwt { mount, role, jwt_file } => {
            // The kubelet lets others in its pod read it, so its mode says nothing.
            let jwt = fs::read_to_string(jwt_file).map(Zeroizing::new);
            let jwt = jwt.map_err(|source| VaultError::Jwt { path: jwt_file.clone(), source })?;
            (mount, json!({ "role": role, "jwt": jwt.trim() }))
        }
        VaultAuth::TokenFile(path) => return Ok(WayIn::Token(read_token(path)?)),
    };
    Ok(WayIn::Login { path: format!("auth/{mount}/login"), body: Zeroizing::new(body.to_string().into_bytes()) })
}
