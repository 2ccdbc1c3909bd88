//! Which authority stands above ours, as it is configured.

use super::{Disk, RootsFile, Upstream};
use std::sync::Arc;

/// See the file's words.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The roots that we publish.
    pub roots: RootsFile,
    /// Who signs.
    pub kind: UpstreamKind,
}

/// Who signs our intermediates.
#[derive(Clone, Debug)]
pub enum UpstreamKind {
    /// Certificate and key in files.
    Disk(Disk),
}

impl UpstreamSettings {
    /// Makes it ready to be asked.
    pub fn connect(&self) -> Arc<dyn Upstream> {
        match &self.kind {
            UpstreamKind::Disk(disk) => Arc::new(disk.clone()),
        }
    }
}
