//! The session key at rest: one file that only its owner reads, with the sessions that the key holds.
//!
//! **Invariants**: the key is on disk before the server hears of it, so that a restart can go on; of several
//! processes that open one folder at the same time, the first makes the key and all use it. SVID keys are never here.

use super::memory::on_memory;
use crate::crypto::{CryptoError, Digest, KeyAlgorithm, KeyPair, Random};
use crate::store::write_aside;
use crate::wire::lanyard::JobEnd;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time::OffsetDateTime;
use zeroize::{ZeroizeOnDrop, Zeroizing};

const FILE: &str = "session.json";

/// Held while an agent runs; the system lets go of it however the agent ends.
const LOCK: &str = "lock";

/// Who else may use the folder at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sharing {
    /// Nobody: sessions end with this agent.
    Alone,
    /// Others that leave sessions to each other, as the several `exec` of one job do.
    WithOthers,
}

const VERSION: u8 = 1;

/// A file of ours has some hundred bytes for each session; what is larger is not ours.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why the session key cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SessionFileError {
    /// The folder could be read or written by somebody else.
    #[error("{} must be a folder of our own with mode 0700: {found}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// Another agent works there.
    #[error("{} is in use by another agent", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// The system does not let us.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key cannot be made or read.
    #[error("the session key cannot be used")]
    Key(#[from] CryptoError),
    /// The file is not one that we wrote.
    #[error("{} is no session file of this version; remove it to begin a new session", path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
    },
}

/// The job of a session, where one agent serves several.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct KeptJob {
    /// Names the time from one boot to the next; cgroups do not outlive it.
    pub(super) boot_id: String,
    /// The path of its cgroup.
    pub(super) cgroup: String,
    /// And its number, which a later cgroup of that path has not.
    pub(super) inode: u64,
}

/// A session that the key holds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct KeptSession {
    /// As the server names it.
    pub(super) id: String,
    /// The SHA-256 of the token that opened it.
    pub(super) token: Digest,
    /// When it ends by itself, as far as the server has said.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(super) ends_at: Option<OffsetDateTime>,
    /// Whose it is, where one agent serves several jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) job: Option<KeptJob>,
    /// Whether it is no job's but the runner's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) runner: bool,
}

/// A session that is over here, and of whose end the server has not heard.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct KeptEnd {
    #[serde(flatten)]
    pub(super) session: KeptSession,
    /// Older versions did not say.
    #[serde(default)]
    pub(super) why: JobEnd,
}

/// A private key, PKCS#8 in base64; wiped on drop.
#[derive(Deserialize, Serialize, ZeroizeOnDrop)]
#[serde(transparent)]
struct KeyText(String);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u8,
    key: KeyText,
    sessions: Vec<KeptSession>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ending: Vec<KeptEnd>,
}

/// The session key with its file.
#[derive(Debug)]
pub(super) struct SessionFile {
    folder: PathBuf,
    key: Arc<KeyPair>,
    sessions: Vec<KeptSession>,
    ending: Vec<KeptEnd>,
    /// Whether the file lacks what is known here.
    behind: bool,
    random: Random,
    _lock: File,
}

impl SessionFile {
    /// Opens the folder, making it and the key where they are missing.
    pub(super) fn open(folder: &Path, sharing: Sharing, random: &Random) -> Result<Self, SessionFileError> {
        own_folder(folder)?;
        let lock = lock(folder, sharing)?;
        let path = folder.join(FILE);
        if !path.exists() {
            if !on_memory(folder) {
                tracing::warn!(folder = %folder.display(), "the session key is kept on a disk; a tmpfs would forget it with the machine");
            }
            let key = KeyPair::generate(KeyAlgorithm::EcP256)?;
            let aside = save_aside(&path, &content(&key, &[], &[]), random)?;
            // A hard link is made or not, never half: who comes second reads the first one's key.
            let linked = std::fs::hard_link(&aside, &path);
            std::fs::remove_file(&aside).map_err(|source| at(&aside, source))?;
            match linked {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(at(&path, error)),
                Ok(()) | Err(_) => {}
            }
        }
        let content = read(&path)?;
        let not_ours = || SessionFileError::NotOurs { path: path.clone() };
        let pkcs8 = STANDARD.decode(content.key.0.as_bytes()).map_err(|_not_base64| not_ours())?;
        let key = Arc::new(KeyPair::from_pkcs8(Zeroizing::new(pkcs8))?);
        let Content { sessions, ending, .. } = content;
        let (folder, random) = (folder.to_owned(), random.clone());
        Ok(Self { folder, key, sessions, ending, behind: false, random, _lock: lock })
    }

    pub(super) const fn key(&self) -> &Arc<KeyPair> {
        &self.key
    }

    /// The session of this job that was opened last.
    pub(super) fn last(&self, job: Option<&KeptJob>) -> Option<&KeptSession> {
        self.sessions.iter().rfind(|kept| !kept.runner && kept.job.as_ref() == job)
    }

    /// The runner's own that was opened last.
    pub(super) fn last_of_runner(&self) -> Option<&KeptSession> {
        self.sessions.iter().rfind(|kept| kept.runner)
    }

    /// The jobs of all sessions, each once.
    pub(super) fn jobs(&self) -> BTreeSet<KeptJob> {
        self.sessions.iter().filter_map(|kept| kept.job.clone()).collect()
    }

    /// Writes down a session and, in the same step, strikes out the one that it replaces.
    pub(super) fn keep(&mut self, session: KeptSession, former: Option<&str>) -> Result<(), SessionFileError> {
        let others = |kept: &KeptSession| kept.id != session.id && former != Some(&*kept.id);
        let last = if session.runner { self.last_of_runner() } else { self.last(session.job.as_ref()) };
        if last == Some(&session) && former.is_none_or(|former| former == session.id) {
            return self.catch_up();
        }
        self.sessions.retain(others);
        self.sessions.push(session);
        self.save()
    }

    /// The sessions whose end the server has not heard of.
    pub(super) fn ending(&self) -> &[KeptEnd] {
        &self.ending
    }

    /// Writes down that a session is over here: nobody goes on with it, and the server is to be told.
    pub(super) fn end(&mut self, end: KeptEnd) -> Result<(), SessionFileError> {
        self.sessions.retain(|kept| kept.id != end.session.id);
        self.ending.push(end);
        self.save()
    }

    /// The same for all that nobody will go on with.
    pub(super) fn end_unless(
        &mut self,
        why: JobEnd,
        goes_on: impl Fn(Option<&KeptJob>) -> bool,
    ) -> Result<(), SessionFileError> {
        let before = self.ending.len();
        let over = self.sessions.extract_if(.., |kept| !goes_on(kept.job.as_ref()));
        self.ending.extend(over.map(|session| KeptEnd { session, why }));
        if before == self.ending.len() { Ok(()) } else { self.save() }
    }

    /// Strikes out a session that has ended by itself or by the server.
    pub(super) fn forget(&mut self, id: &str) -> Result<(), SessionFileError> {
        let before = self.sessions.len();
        self.sessions.retain(|kept| kept.id != id);
        if before == self.sessions.len() { self.catch_up() } else { self.save_unless_removed() }
    }

    /// Strikes out a session of whose end the server knows now.
    pub(super) fn told(&mut self, id: &str) -> Result<(), SessionFileError> {
        self.ending.retain(|kept| kept.session.id != id);
        self.save_unless_removed()
    }

    /// Writes down what could not be written when it was told: the disk may have room again.
    pub(super) fn catch_up(&mut self) -> Result<(), SessionFileError> {
        if self.behind { self.save() } else { Ok(()) }
    }

    /// Where another run has removed the key, nothing is left that could be struck out.
    fn save_unless_removed(&mut self) -> Result<(), SessionFileError> {
        if self.folder.join(FILE).exists() { self.save() } else { Ok(()) }
    }

    /// Replaces the file, but makes none where another run has removed the key.
    fn save(&mut self) -> Result<(), SessionFileError> {
        self.behind = true;
        let path = self.folder.join(FILE);
        std::fs::symlink_metadata(&path).map_err(|source| at(&path, source))?;
        let aside = save_aside(&path, &content(&self.key, &self.sessions, &self.ending), &self.random)?;
        std::fs::rename(&aside, &path).map_err(|source| at(&path, source))?;
        self.behind = false;
        Ok(())
    }
}

fn lock(folder: &Path, sharing: Sharing) -> Result<File, SessionFileError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|source| at(&path, source))?;
    let locked = match sharing {
        Sharing::Alone => file.try_lock(),
        Sharing::WithOthers => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SessionFileError::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(at(&path, source)),
    }
}

/// Removes the session key of a folder, and the folder where it then is empty but for our lock: whoever has none of it in
/// memory cannot go on with its sessions.
///
/// # Errors
/// When the system does not let us.
pub fn remove_session_key(folder: &Path) -> Result<(), SessionFileError> {
    let path = folder.join(FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&path, error)),
        Ok(()) | Err(_) => {}
    }
    // Somebody may be making a new key there just now; it is no secret that stays behind.
    let cleared = std::fs::remove_file(folder.join(LOCK)).and_then(|()| std::fs::remove_dir(folder));
    if let Err(error) = cleared {
        tracing::debug!(%error, folder = %folder.display(), "the session key's folder stays behind");
    }
    Ok(())
}

/// The same where the key holds no session and nobody else works with it.
///
/// # Errors
/// When the system does not let us, or the file is none of ours.
pub fn remove_unused_session_key(folder: &Path) -> Result<(), SessionFileError> {
    let _alone = match lock(folder, Sharing::Alone) {
        Err(SessionFileError::InUse { .. }) => return Ok(()),
        locked => locked?,
    };
    let Content { sessions, ending, .. } = read(&folder.join(FILE))?;
    if sessions.is_empty() && ending.is_empty() { remove_session_key(folder) } else { Ok(()) }
}

fn content(key: &KeyPair, sessions: &[KeptSession], ending: &[KeptEnd]) -> Content {
    let key = KeyText(STANDARD.encode(key.pkcs8_der()));
    Content { version: VERSION, key, sessions: sessions.to_vec(), ending: ending.to_vec() }
}

fn at(path: &Path, source: std::io::Error) -> SessionFileError {
    SessionFileError::Io { path: path.to_owned(), source }
}

/// Makes the folder, or sees that the one that is there is ours alone.
fn own_folder(folder: &Path) -> Result<(), SessionFileError> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(|source| at(parent, source))?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(at(folder, error)),
    }
    let found = std::fs::symlink_metadata(folder).map_err(|source| at(folder, source))?;
    let own = own_uid()?;
    let complaint = if !found.is_dir() {
        "it is no folder".to_owned()
    } else if found.uid() != own {
        format!("it belongs to uid {}, we are {own}", found.uid())
    } else if found.mode() & 0o077 != 0 {
        format!("its mode is {:04o}", found.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(SessionFileError::Folder { path: folder.to_owned(), found: complaint })
}

/// The uid that this process runs as.
pub(super) fn own_uid() -> Result<u32, SessionFileError> {
    let path = Path::new("/proc/self");
    Ok(std::fs::metadata(path).map_err(|source| at(path, source))?.uid())
}

fn read(path: &Path) -> Result<Content, SessionFileError> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(|source| at(path, source))?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|source| at(path, source))?;
    match serde_json::from_str::<Content>(&text) {
        Ok(content) if content.version == VERSION => Ok(content),
        Ok(_) | Err(_) => Err(SessionFileError::NotOurs { path: path.to_owned() }),
    }
}

fn save_aside(path: &Path, content: &Content, random: &Random) -> Result<PathBuf, SessionFileError> {
    let text = Zeroizing::new(serde_json::to_vec(content).map_err(|source| at(path, source.into()))?);
    write_aside(path, random, |file| file.write_all(&text)).map_err(|source| at(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_restarted_agent_finds_its_key_and_sessions() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state");
        let mut file = SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap();
        let session =
            KeptSession { id: "s1".to_owned(), token: Digest::of(b"t"), ends_at: None, job: None, runner: false };
        file.keep(session.clone(), None).unwrap();
        let again = SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap();
        assert_eq!(again.key().public(), file.key().public());
        assert_eq!(again.last(None), Some(&session));
        file.forget("s1").unwrap();
        assert_eq!(SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap().last(None), None);
        let mode = std::fs::metadata(folder.join(FILE)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "the lock beside it, and nothing is left aside");
    }

    #[test]
    fn a_replaced_session_does_not_come_back_when_its_successor_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state");
        let mut file = SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap();
        let session = |id: &str| KeptSession {
            id: id.to_owned(),
            token: Digest::of(id.as_bytes()),
            ends_at: None,
            job: None,
            runner: false,
        };
        file.keep(session("s1"), None).unwrap();
        file.keep(session("s2"), Some("s1")).unwrap();
        file.forget("s2").unwrap();
        assert_eq!(SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap().last(None), None);
    }

    #[test]
    fn a_session_to_be_ended_is_never_gone_on_with_and_kept_until_the_server_knows() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state");
        let session = KeptSession {
            id: "s1".to_owned(),
            token: Digest::of(b"t"),
            ends_at: Some(OffsetDateTime::UNIX_EPOCH),
            job: None,
            runner: false,
        };
        let mut file = SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap();
        file.keep(session.clone(), None).unwrap();
        let end = KeptEnd { session, why: JobEnd::ExecEnd };
        file.end(end.clone()).unwrap();
        drop(file);
        let mut again = SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap();
        assert_eq!((again.last(None), again.ending()), (None, [end].as_slice()));
        again.forget("s1").unwrap();
        assert_eq!(again.ending().len(), 1);
        again.told("s1").unwrap();
        assert!(again.ending().is_empty());
        remove_session_key(&folder).unwrap();
        again
            .keep(
                KeptSession { id: "s2".to_owned(), token: Digest::of(b"t"), ends_at: None, job: None, runner: false },
                None,
            )
            .unwrap_err();
        assert!(!folder.join(FILE).exists(), "a removed key stays removed");
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let home = tempfile::tempdir().unwrap();
        let (folder, away) = (home.path().join("state"), home.path().join("away"));
        let mut file = SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap();
        let session =
            KeptSession { id: "s1".to_owned(), token: Digest::of(b"t"), ends_at: None, job: None, runner: false };
        std::fs::rename(&folder, &away).unwrap();
        file.keep(session.clone(), None).unwrap_err();
        std::fs::rename(&away, &folder).unwrap();
        file.catch_up().unwrap();
        let again = SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap();
        assert_eq!(again.last(None), Some(&session));
    }

    #[test]
    fn a_second_agent_is_turned_away_while_the_first_one_lives() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("agent");
        let first = SessionFile::open(&folder, Sharing::Alone, &Random::system()).unwrap();
        for sharing in [Sharing::Alone, Sharing::WithOthers] {
            let refused = SessionFile::open(&folder, sharing, &Random::system()).unwrap_err();
            assert_eq!(refused.to_string(), format!("{} is in use by another agent", folder.display()));
        }
        drop(first);
        SessionFile::open(&folder, Sharing::Alone, &Random::system()).unwrap();
    }

    #[test]
    fn two_that_open_one_folder_at_once_share_a_key() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state");
        let open = || {
            *SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap().key().public().id().digest()
        };
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key == &keys[0]));
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("state");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
        let refused = SessionFile::open(&folder, Sharing::WithOthers, &Random::system()).unwrap_err();
        assert!(refused.to_string().ends_with("its mode is 0755"), "{refused}");
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(matches!(
            SessionFile::open(&link, Sharing::WithOthers, &Random::system()),
            Err(SessionFileError::Folder { .. })
        ));
    }
}
