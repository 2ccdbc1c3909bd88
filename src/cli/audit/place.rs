//! Where the journal is, and the keys that open what it holds of persons.

use crate::authority::SealingSettings;
use crate::cli::failure::WrongUsage;
use crate::cli::remote::named_config;
use crate::cli::render;
use crate::clock::SystemClock;
use crate::config::{SystemEnvironment, Whereabouts, load_whereabouts};
use crate::crypto::Sealing;
use crate::custody::Places;
use crate::people::People;
use crate::server::open_places;
use std::path::PathBuf;
use std::sync::Arc;

/// Which journal.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Journal {
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration; its data folder holds the journal [env: LANYARD_CONFIG]"
    )]
    pub(in crate::cli) config: Option<PathBuf>,
    /// The data folder itself, or a copy of it
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub(in crate::cli) data_dir: Option<PathBuf>,
}

/// A journal's folder, and what opens sealed keys there.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Place {
    /// The data folder.
    pub(in crate::cli) folder: PathBuf,
    sealing: SealingSettings,
    places: Places,
}

impl Journal {
    /// The configuration, typed or the variable's.
    pub(in crate::cli) fn config_file(&self) -> Option<PathBuf> {
        named_config(self.config.clone())
    }

    /// The data folder; none when the configuration has problems, which are printed then.
    pub(in crate::cli) fn folder(&self) -> anyhow::Result<Option<PathBuf>> {
        Ok(self.place()?.map(|place| place.folder))
    }

    /// The data folder with its keys; none when the configuration has problems, which are printed then.
    pub(in crate::cli) fn place(&self) -> anyhow::Result<Option<Place>> {
        match (&self.data_dir, self.config_file()) {
            (Some(folder), _) => {
                let sealing = SealingSettings::at(folder.join("sealing.key"));
                Ok(Some(Place { folder: folder.clone(), sealing, places: Places::default() }))
            }
            (None, Some(file)) => {
                render::needed(&file, load_whereabouts(&file, &SystemEnvironment)).map(Place::of).transpose()
            }
            (None, None) => {
                Err(WrongUsage::new("name the journal: --config FILE, --data-dir DIR, or LANYARD_CONFIG").into())
            }
        }
    }
}

impl Place {
    /// A server's.
    pub(in crate::cli) fn of(server: Whereabouts) -> anyhow::Result<Self> {
        let (_vault, places) = open_places((server.vault.as_ref(), &server.places), Arc::new(SystemClock))?;
        Ok(Self { folder: server.data_dir, sealing: server.sealing, places })
    }

    /// What opens its secrets.
    pub(in crate::cli) async fn sealing(&self) -> anyhow::Result<Sealing> {
        Ok(self.sealing.open(&self.places).await?)
    }

    /// The persons' keys; none where they are not here or do not open, which is said.
    pub(in crate::cli) async fn people(&self) -> Option<People> {
        let file = self.folder.join(People::FILE);
        if !file.exists() {
            return None;
        }
        let opened = self.sealing().await.and_then(|sealing| Ok(People::read(&file, &sealing)?));
        let told = |error: &anyhow::Error| render::aside(&format!("who started a job stays sealed: {error:#}"));
        opened.inspect_err(told).ok()
    }
}
