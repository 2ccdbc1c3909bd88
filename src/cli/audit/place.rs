//! Where the journal is, and the keys that open what it holds of persons.

use crate::authority::open_sealing_key;
use crate::cli::failure::WrongUsage;
use crate::cli::remote::named_config;
use crate::cli::render;
use crate::config::{SystemEnvironment, load_server};
use crate::people::People;
use std::path::PathBuf;

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
    /// The key that seals its secrets.
    pub(in crate::cli) sealing_key_file: PathBuf,
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
                let sealing_key_file = folder.join("sealing.key");
                Ok(Some(Place { folder: folder.clone(), sealing_key_file }))
            }
            (None, Some(file)) => Ok(load_server(&file, &SystemEnvironment)
                .map(|settings| Place { folder: settings.data_dir, sealing_key_file: settings.sealing_key_file })
                .map_err(|problems| render::problems(&problems))
                .ok()),
            (None, None) => {
                Err(WrongUsage::new("name the journal: --config FILE, --data-dir DIR, or LANYARD_CONFIG").into())
            }
        }
    }
}

impl Place {
    /// The persons' keys; none where they are not here or do not open, which is said.
    pub(in crate::cli) fn people(&self) -> Option<People> {
        let file = self.folder.join(People::FILE);
        if !file.exists() {
            return None;
        }
        let opened = open_sealing_key(&self.sealing_key_file, true)
            .map_err(anyhow::Error::from)
            .and_then(|sealing| Ok(People::read(&file, &sealing)?));
        let told = |error: &anyhow::Error| render::aside(&format!("who started a job stays sealed: {error:#}"));
        opened.inspect_err(told).ok()
    }
}
