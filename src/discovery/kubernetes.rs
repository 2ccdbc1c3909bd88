//! The way to a cluster's API: a kubeconfig, or the service account of the pod that we run in.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::error::Error;
use std::path::Path;

/// There is no way to the Kubernetes API.
#[derive(Debug, thiserror::Error)]
#[error("there is no way to the Kubernetes API")]
pub struct NoWayToKubernetes(#[source] Box<dyn Error + Send + Sync>);

/// A client of the API; asks nobody yet.
///
/// # Errors
/// Where the file cannot be used, or we run in no pod.
pub async fn kubernetes(kubeconfig: Option<&Path>) -> Result<Client, NoWayToKubernetes> {
    let mut config = match kubeconfig {
        None => Config::incluster().map_err(no_way)?,
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(no_way)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(no_way)?
        }
    };
    // The library would wait for as long as it is told to; whoever asks tries again by itself.
    config.default_retry = false;
    Client::try_from(config).map_err(no_way)
}

fn no_way(fault: impl Into<Box<dyn Error + Send + Sync>>) -> NoWayToKubernetes {
    NoWayToKubernetes(fault.into())
}
