//! The command itself, in a folder with the files that its lines name.

use crate::root;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder with copies of the golden folder's inputs.
pub(crate) fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in ["policy.toml", "server.toml", "roots.pem", "mesh-roots.pem"] {
        fs::copy(root().join("tests/golden/mesh").join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// A line as a shell runs it, in a folder, with our program on its path.
pub(crate) fn shell(line: &str, folder: &Path) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_lanyard")).parent().unwrap();
    let line = format!("PATH='{}':$PATH; {line}", program.display());
    let mut command = Command::new("sh");
    command.args(["-euc", &line]).current_dir(folder).env_remove("LANYARD_CONFIG");
    command.output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
