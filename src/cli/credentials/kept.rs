//! All credentials of one command: had before it starts, fresh while it runs, gone when it ends.

use super::OwnFolder;
use super::args::{CredentialArgs, Wished};
use super::aws::AwsRole;
use super::token_file::TokenFile;
use super::vault::VaultLogin;
use crate::crypto::Random;
use crate::wire::{NotAnAddress, WorkloadAddress};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tokio::process::Command;

/// What keeps one of them fresh.
type Keeping<'a> = Pin<Box<dyn Future<Output = Infallible> + Send + 'a>>;

/// See the file's words.
#[derive(Debug, Default)]
pub(in crate::cli) struct Credentials {
    files: Vec<TokenFile>,
    aws: Option<(AwsRole, TokenFile)>,
    vault: Option<VaultLogin>,
    /// Last: what lies in it goes before.
    _folder: Option<OwnFolder>,
}

impl Credentials {
    /// Gets all that is asked for from the Workload API of this endpoint, or says what is missing.
    pub(in crate::cli) async fn begin(args: &CredentialArgs, endpoint: &str) -> anyhow::Result<Self> {
        if args.is_empty() {
            return Ok(Self::default());
        }
        let random = Random::system();
        let address: WorkloadAddress = endpoint.parse().map_err(|wrong: NotAnAddress| anyhow::anyhow!("{wrong}"))?;
        let from = || (address.clone(), &random);
        let mut all = Self::default();
        for Wished { audience, path } in &args.token_file {
            all.files.push(TokenFile::begin(from(), audience, path.clone()).await?);
        }
        if args.aws_role.is_none() && args.vault_addr.is_none() {
            return Ok(all);
        }
        let folder = OwnFolder::in_memory(&random)?;
        if let Some(arn) = args.aws_role.clone() {
            let file = TokenFile::begin(from(), &args.aws_audience, folder.path().join("aws")).await?;
            all.aws = Some((AwsRole { arn, session_name: args.aws_session_name.clone() }, file));
        }
        if let (Some(vault), Some(role)) = (&args.vault_addr, &args.vault_role) {
            let audience = args.vault_audience.as_ref().unwrap_or(vault);
            let file = TokenFile::begin(from(), audience, folder.path().join("vault")).await?;
            all.vault = Some(VaultLogin::begin((vault, &args.vault_mount, role), &file, (&folder, &random)).await?);
        }
        Ok(Self { _folder: Some(folder), ..all })
    }

    /// Shows them to a command.
    pub(in crate::cli) fn equip(&self, command: &mut Command) {
        if let Some((role, file)) = &self.aws {
            role.equip(command, file.path());
        }
        if let Some(vault) = &self.vault {
            vault.equip(command);
        }
    }

    /// Keeps all of them fresh for as long as it is asked.
    pub(in crate::cli) async fn keep_fresh(&mut self) -> Infallible {
        let mut kept: Vec<Keeping<'_>> = Vec::new();
        for file in self.files.iter_mut().chain(self.aws.as_mut().map(|(_, file)| file)) {
            kept.push(Box::pin(file.keep_fresh()));
        }
        if let Some(vault) = &mut self.vault {
            kept.push(Box::pin(vault.keep_fresh()));
        }
        poll_fn(|context| {
            let ended = kept.iter_mut().map(|one| one.as_mut().poll(context)).find(Poll::is_ready);
            ended.unwrap_or(Poll::Pending)
        })
        .await
    }

    /// Nothing of them is left.
    pub(in crate::cli) async fn end(mut self) {
        if let Some(vault) = self.vault.take() {
            vault.end().await;
        }
    }
}
