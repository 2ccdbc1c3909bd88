//! What a command finds where other people's software looks for credentials: files with JWT-SVIDs, AWS's variables, a
//! token of Vault's. Kept fresh while it runs, and gone with it.

mod args;
mod token_file;
mod folder;
mod aws;
mod vault;
mod kept;

pub(super) use args::CredentialArgs;
pub(super) use folder::OwnFolder;
pub(super) use kept::Credentials;
