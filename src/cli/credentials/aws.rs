//! Where AWS's SDKs and its command line look for a role to take with a token of ours.

use crate::config::{Environment, SystemEnvironment};
use crate::svid::is_session_name;
use std::ffi::OsString;
use std::path::Path;
use tokio::process::Command;

/// What they would take instead, so that the role is never asked for.
const BEFORE_US: [&str; 5] =
    ["AWS_ACCESS_KEY_ID", "AWS_DEFAULT_PROFILE", "AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

/// A role, and what its session is called.
#[derive(Debug)]
pub(super) struct AwsRole {
    pub(super) arn: String,
    pub(super) session_name: Option<String>,
}

impl AwsRole {
    /// Lets a command take the role.
    pub(super) fn equip(&self, command: &mut Command, token: &Path) {
        let variables: [(&str, OsString); 3] = [
            ("AWS_ROLE_ARN", self.arn.clone().into()),
            ("AWS_ROLE_SESSION_NAME", self.name().into()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.into()),
        ];
        command.envs(variables);
        let there: Vec<_> = BEFORE_US.into_iter().filter(|name| SystemEnvironment.value(name).is_some()).collect();
        if !there.is_empty() {
            let variables = there.join(", ");
            tracing::warn!(
                variables,
                "taken out of the command's environment: with them AWS's software would not take the role"
            );
        }
        for name in BEFORE_US {
            command.env_remove(name);
        }
    }

    /// A job is found by its number in AWS's trail. The job could choose another, so nothing rests on it.
    fn name(&self) -> String {
        let by_job = || SystemEnvironment.value("CI_JOB_ID").map(|id| format!("gitlab-job-{id}"));
        self.session_name
            .clone()
            .or_else(by_job)
            .filter(|name| is_session_name(name))
            .unwrap_or_else(|| "lanyard".to_owned())
    }
}
