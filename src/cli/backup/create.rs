//! `lanyard backup create`: from a running server through its admin socket, or from a stopped server's folder.

use crate::backup::{BackupError, Contents, Head, Pack, Piece};
use crate::cli::admin::AdminArgs;
use crate::cli::audit::Place;
use crate::cli::failure::WrongUsage;
use crate::cli::remote::named_config;
use crate::cli::render;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{SystemEnvironment, Whereabouts, load_whereabouts};
use crate::crypto::{Random, read_secret_file};
use crate::wire::lanyard::backup_part::Part;
use crate::wire::lanyard::{BackupFile, BackupPart, CreateBackupRequest};
use anyhow::Context as _;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tonic::Streaming;

/// What can be typed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The file to write, or a folder for one that is named after the trust domain and the time
    #[arg(long, value_name = "FILE|DIR", default_value = ".")]
    to: PathBuf,
    #[arg(
        long,
        value_name = "FILE",
        help = "The server's configuration; where no server listens at its admin socket, its folder is read [env: LANYARD_CONFIG]"
    )]
    config: Option<PathBuf>,
    /// The sealing key too: whoever has the file then has your authority. Needs --config
    #[arg(long)]
    with_sealing_key: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: AdminArgs,
}

/// A file that goes when this does; by then it has its own name, or is of no use.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// An archive under way, aside.
struct Target {
    aside: Aside,
    file: PathBuf,
    pack: Pack<BufWriter<File>>,
    done: u64,
    head: Head,
}

/// Makes it, and says what it holds and what it does not.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { to, config, with_sealing_key, json, server } = args;
    let settings = match named_config(config) {
        None => None,
        Some(file) => match render::needed(&file, load_whereabouts(&file, &SystemEnvironment)) {
            None => return Ok(ExitCode::FAILURE),
            found => found,
        },
    };
    if with_sealing_key && settings.as_ref().is_some_and(|settings| settings.sealing.place.is_some()) {
        let no = "--with-sealing-key: a place wraps the sealing key, and every backup has it as it is wrapped; leave that out";
        return Err(WrongUsage::new(no).into());
    }
    let key_file = settings.as_ref().map(|settings| settings.sealing.file.clone());
    let key_file = key_file.filter(|_| with_sealing_key);
    if with_sealing_key && key_file.is_none() {
        return Err(WrongUsage::new("--with-sealing-key needs --config FILE, which says where it is").into());
    }
    let server = server.or_of(settings.as_ref().map(|settings| settings.admin_socket.as_path()));
    let mut target = match at_rest(settings.as_ref(), &server).await? {
        Some(contents) => {
            let mut target = Target::of(&to, contents.head.clone())?;
            contents.read(|piece| target.take(piece))?;
            target
        }
        None => running(&server, &to).await?,
    };
    if let Some(file) = &key_file {
        target.add_key(file)?;
    }
    let (file, head) = target.finish()?;
    tell(&file, &head, (json, key_file.is_some()))?;
    Ok(ExitCode::SUCCESS)
}

/// A stopped server's folder; none where a server listens.
async fn at_rest(settings: Option<&Whereabouts>, server: &AdminArgs) -> anyhow::Result<Option<Contents>> {
    let Some(settings) = settings else { return Ok(None) };
    if server.listens().await? {
        return Ok(None);
    }
    let sealing = Place::of(settings.clone())?.sealing().await?;
    Ok(Some(settings.folder().at_rest(&sealing, SystemClock.now())?))
}

/// A running server's, part by part. What ends before its end is no backup.
async fn running(server: &AdminArgs, to: &Path) -> anyhow::Result<Target> {
    let mut parts = server.ask(async |mut admin| admin.create_backup(CreateBackupRequest {}).await).await?;
    let Some(Part::Head(head)) = next(server, &mut parts).await? else {
        anyhow::bail!("the server's answer is no backup")
    };
    let mut target = Target::of(to, serde_json::from_slice(&head).context("the server's answer is no backup")?)?;
    while let Some(part) = next(server, &mut parts).await? {
        match part {
            Part::Head(_) => {}
            Part::File(BackupFile { name, bytes }) => target.take(Piece::File { name: &name, bytes })?,
            Part::Bytes(bytes) => target.take(Piece::Bytes(&bytes))?,
        }
    }
    Ok(target)
}

async fn next(server: &AdminArgs, parts: &mut Streaming<BackupPart>) -> anyhow::Result<Option<Part>> {
    let part = parts.message().await.map_err(|status| server.refused(&status))?;
    Ok(part.and_then(|part| part.part))
}

impl Target {
    fn of(to: &Path, head: Head) -> anyhow::Result<Self> {
        let file = if to.is_dir() { to.join(name(&head)) } else { to.to_owned() };
        if file.exists() {
            return Err(WrongUsage::new(format!("{} is there already; name another file", file.display())).into());
        }
        let mut aside = file.clone().into_os_string();
        // Others may write to this folder, too: a link that waits there under a name they guessed would be followed.
        aside.push(format!(".{:016x}.new", u64::from_be_bytes(Random::system().bytes())));
        let aside = PathBuf::from(aside);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside);
        let opened = opened.with_context(|| format!("{} cannot be written", aside.display()))?;
        let aside = Aside(aside);
        let made_at = u64::try_from(head.made_at.unix_timestamp()).unwrap_or_default();
        let pack = Pack::new(BufWriter::with_capacity(1 << 20, opened), made_at);
        Ok(Self { aside, file, pack, done: 0, head })
    }

    fn take(&mut self, piece: Piece<'_>) -> Result<(), BackupError> {
        if let Piece::Bytes(bytes) = piece {
            self.done += u64::try_from(bytes.len()).unwrap_or_default();
            self.show();
        }
        self.pack.take(piece)
    }

    fn show(&self) {
        let (done, all) = (self.done.min(self.head.bytes), self.head.bytes);
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        render::progress(&format!("{percent} % of {} written", render::size(all)));
    }

    fn add_key(&mut self, file: &Path) -> anyhow::Result<()> {
        let key = read_secret_file(file)?;
        let bytes = u64::try_from(key.len()).unwrap_or_default();
        self.pack.take(Piece::File { name: "sealing.key", bytes })?;
        Ok(self.pack.take(Piece::Bytes(&key))?)
    }

    /// On the medium, and only then under its name.
    fn finish(self) -> anyhow::Result<(PathBuf, Head)> {
        let Self { aside, file, pack, head, .. } = self;
        render::progress("");
        let written = pack.finish()?.into_inner().map_err(|error| BackupError::Write(error.into_error()))?;
        let named = written.sync_all().and_then(|()| fs::rename(&aside.0, &file));
        named.with_context(|| format!("{} cannot be written", file.display()))?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all())?;
        Ok((file, head))
    }
}

/// Sorted by name is sorted by time.
fn name(head: &Head) -> String {
    let at: String = render::time(head.made_at).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("lanyard-{}-{at}.tar", head.trust_domain)
}

fn tell(file: &Path, head: &Head, (json, has_key): (bool, bool)) -> anyhow::Result<()> {
    let bytes = fs::metadata(file)?.len();
    if json {
        return render::json(&json!({ "file": file, "bytes": bytes, "sealing_key": has_key, "head": head }));
    }
    let (first, last, at) = (head.journal.first, head.journal.last, render::time(head.journal.at));
    let (size, file) = (render::size(bytes), file.display());
    render::say(&format!("{file}: {size}, records {first} to {last} (the last of {at}), keyring {}", head.sequence))?;
    if first > 1 {
        render::aside(&format!("records up to {} were archived, and are not in it: keep the archive, too", first - 1));
    }
    render::aside(if has_key {
        "the sealing key is in it: whoever has this file has your authority. Keep it as you would keep a root's key"
    } else if head.files.contains_key("sealing.wrapped") {
        "the sealing key is in it as its place has wrapped it: without that place the backup is worth nothing, so keep that, too"
    } else {
        "the sealing key is not in it, and without it the backup is worth nothing: keep it, too, and elsewhere"
    });
    Ok(())
}
