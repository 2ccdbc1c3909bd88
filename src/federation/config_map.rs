//! One key of one ConfigMap, as the cluster's API shows it: listed once, then watched, and listed anew when the watch is lost.

use crate::discovery::{NoWayToKubernetes, kubernetes};
use crate::telemetry::chain;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::{Stream, StreamExt as _};

/// For an answer that is no watch.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The API ends a watch after so long; below what proxies give an idle connection.
const WATCH_SECONDS: u32 = 280;
/// A watch that is silent beyond its end has lost its connection.
const SILENT_AT_MOST: Duration = Duration::from_secs(300);
/// What the API says of a version that it has forgotten.
const GONE: u16 = 410;

/// Where in a cluster.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConfigMapKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key of its `data` that holds the bundle.
    pub key: String,
    /// How to come to the API; none for the pod's own service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
}

/// Why the API does not show it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigMapError {
    #[error("the Kubernetes API says no")]
    Api(#[from] kube::Error),
    #[error(transparent)]
    NoWay(#[from] NoWayToKubernetes),
    #[error("the Kubernetes API gave no answer within {} s", ANSWER_WITHIN.as_secs())]
    Slow,
}

/// What the key holds, or why it holds nothing.
pub(super) type Text = Result<Vec<u8>, String>;

type Events = Pin<Box<dyn Stream<Item = Result<WatchEvent<ConfigMap>, kube::Error>> + Send>>;

/// A watch that goes on from what was seen.
pub(super) struct Watched {
    api: Api<ConfigMap>,
    of: ConfigMapKey,
    version: String,
    events: Option<Events>,
}

impl ConfigMapKey {
    /// Looks once, and is ready to watch from there.
    pub(super) async fn list(&self) -> Result<(Text, Watched), ConfigMapError> {
        let api: Api<ConfigMap> = Api::namespaced(kubernetes(self.kubeconfig.as_deref()).await?, &self.namespace);
        let params = ListParams::default().fields(&self.selector());
        let answer = tokio::time::timeout(ANSWER_WITHIN, api.list(&params)).await;
        let list = answer.map_err(|_elapsed| ConfigMapError::Slow)??;
        let version = list.metadata.resource_version.unwrap_or_default();
        Ok((self.text(list.items.first()), Watched { api, of: self.clone(), version, events: None }))
    }

    fn selector(&self) -> String {
        format!("metadata.name={}", self.name)
    }

    /// What the key holds in a map that may be there.
    fn text(&self, map: Option<&ConfigMap>) -> Text {
        let Self { namespace, name, key, .. } = self;
        let map = map.ok_or_else(|| format!("there is no config map {namespace}/{name}"))?;
        let text = map.data.as_ref().and_then(|data| data.get(key)).map(|text| text.clone().into_bytes());
        let bytes = || Some(map.binary_data.as_ref()?.get(key)?.0.clone());
        text.or_else(bytes).ok_or_else(|| {
            let known: Vec<_> = map.data.iter().flat_map(|data| data.keys().map(String::as_str)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("config map {namespace}/{name} has no key {key}; it has: {known}")
        })
    }
}

impl Watched {
    /// What the key comes to hold; none when the watch is over, and the map must be listed anew.
    pub(super) async fn next(&mut self) -> Result<Option<Text>, ConfigMapError> {
        loop {
            let Some(events) = &mut self.events else {
                self.events = Some(open(&self.api, &self.of, &self.version).await?);
                continue;
            };
            let Ok(Some(Ok(event))) = tokio::time::timeout(SILENT_AT_MOST, events.next()).await else {
                return Ok(None);
            };
            match event {
                WatchEvent::Added(map) | WatchEvent::Modified(map) => return Ok(Some(self.of.text(Some(&map)))),
                WatchEvent::Deleted(_) => return Ok(Some(self.of.text(None))),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) if status.code == GONE => return Ok(None),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
            }
        }
    }
}

async fn open(api: &Api<ConfigMap>, of: &ConfigMapKey, version: &str) -> Result<Events, ConfigMapError> {
    let params = WatchParams::default().fields(&of.selector()).timeout(WATCH_SECONDS);
    let opened = tokio::time::timeout(ANSWER_WITHIN, api.watch(&params, version)).await;
    Ok(Box::pin(opened.map_err(|_elapsed| ConfigMapError::Slow)??))
}

impl ConfigMapError {
    /// For operators, with what would help.
    pub(super) fn told(&self) -> String {
        let remedy = match self {
            Self::Api(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                "; let the service account list and watch this config map"
            }
            Self::NoWay(_) => "; name a kubeconfig, or run in a pod with a service account",
            Self::Api(_) | Self::Slow => "",
        };
        format!("{}{remedy}", chain(self))
    }
}
