//! Where a service runs, in Kubernetes' words.

use crate::cli::failure::WrongUsage;
use crate::mesh::{Name, Selector, Workload};

/// Which service.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Where the service runs")]
pub(super) struct ServiceArgs {
    /// The Kubernetes service; objects are named after it
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<Name>,
    /// Its namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    pub(super) namespace: Name,
    /// A label of its workloads, as app=ledger; again for each
    #[arg(long = "selector", value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

impl ServiceArgs {
    /// The service, whole.
    pub(super) fn workload(&self) -> anyhow::Result<Workload> {
        let missing = || WrongUsage::new("name the service with --service NAME");
        let service = self.service.clone().ok_or_else(missing)?;
        let selector = Selector::parse(&self.labels);
        let selector = selector.map_err(|error| WrongUsage::new(format!("--selector: {error}")))?;
        Ok(Workload { service, namespace: self.namespace.clone(), selector })
    }
}
