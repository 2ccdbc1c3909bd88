//! `bench streams` and `bench rotation`: what listening agents cost, and how soon all have heard of a change.

use super::left::Left;
use super::listeners::{Heard, Listener, Listeners, Newcomer, sequence};
use super::load::Pace;
use super::measured::Row;
use super::tokens::Tokens;
use crate::authority::{AuthorityKind, AuthorityState, Outlook, Taken};
use crate::cli::admin::AdminArgs;
use crate::cli::failure::WrongUsage;
use crate::cli::remote::{ServerArgs, typed};
use crate::cli::render;
use crate::crypto::KeyId;
use crate::wire::lanyard::{AuthorityOrder, ChangeAuthorityRequest, ShowAuthorityRequest, ShowBundleRequest};
use crate::wire::raise_open_files;
use anyhow::Context as _;
use bytes::Bytes;
use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// Stands in the journal beside each order.
const REASON: &str = "lanyard bench";

#[derive(clap::Args, Debug)]
#[command(mut_arg("server", typed))]
pub(super) struct Listen {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    tokens: Tokens,
    /// So many agents, each with a session, a connection and a stream of its own; several, with commas, are measured in turn
    #[arg(long, value_delimiter = ',', value_name = "N", default_value = "100",
          value_parser = clap::value_parser!(u32).range(1..))]
    agents: Vec<u32>,
    /// So many come at a time, each when one is there
    #[arg(long, default_value_t = 32, value_name = "N", conflicts_with = "rate", value_parser = clap::value_parser!(u16).range(1..))]
    at_once: u16,
    /// So many come in a second, however long the others take; latency counts from when an agent was due
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// The same server's admin socket, for the change that they hear of: it makes and revokes a root
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    /// The server's process, where it is on this machine: its memory is told
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Nobody is waited for longer
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// One JSON object a line; latencies in microseconds
    #[arg(long)]
    pub(super) json: bool,
    /// Latency over agents as a picture
    #[arg(long, value_name = "FILE.svg")]
    pub(super) plot: Option<PathBuf>,
}

/// What the agents hear of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// A root that is published, and taken back afterwards.
    Published,
    /// The whole way to another root.
    Whole,
}

impl Listen {
    /// Measures each number of agents, and tells each row when it is there. Whatever ends it before its time, what it leaves of a
    /// change of keys is told.
    pub(super) async fn measure(
        &self,
        change: Change,
        told: impl Fn(&Row) -> anyhow::Result<()>,
        rows: &mut Vec<Row>,
    ) -> anyhow::Result<()> {
        if self.pid.is_some() && self.kib().is_none() {
            let pid = self.pid.unwrap_or_default();
            return Err(WrongUsage::new(format!("--pid {pid}: there is no such process; name the server's")).into());
        }
        let Some(operator) = self.operator().await? else {
            if change == Change::Whole {
                let what = "a rotation takes --admin-socket PATH: the keys of that server are changed";
                return Err(WrongUsage::new(what).into());
            }
            return self.measured((change, None), told, rows).await;
        };
        let outcome = tokio::select! {
            outcome = self.measured((change, Some(&operator)), told, rows) => outcome,
            stopped = stopped() => Err(stopped),
        };
        render::progress("");
        if let Some(words) = operator.left() {
            render::aside(&words);
        }
        outcome
    }

    async fn measured(
        &self,
        (change, operator): (Change, Option<&Operator>),
        told: impl Fn(&Row) -> anyhow::Result<()>,
        rows: &mut Vec<Row>,
    ) -> anyhow::Result<()> {
        raise_open_files();
        let mut tokens = self.tokens.supply();
        let mut add = |row: Row| told(&row).map(|()| rows.push(row));
        for count in &self.agents {
            let before = self.kib();
            render::progress(&format!("{count} agents: preparing"));
            let newcomers = Newcomer::of(&self.server, tokens.take(usize::try_from(*count)?)?)?;
            render::progress(&format!("{count} agents: coming"));
            let (mut listeners, row) = self.open(newcomers).await;
            let grown = self.kib().zip(before).map(|(now, before)| now.saturating_sub(before));
            let each = grown.and_then(|kib| kib.checked_div(row.answered));
            add(Row { server_kib_each: each, ..row })?;
            if let Some(operator) = operator {
                let within = Duration::from_secs(self.seconds);
                operator.change(change, (&mut listeners, within), &mut add).await?;
            }
        }
        Ok(())
    }

    /// Opens the streams; `answered` are those that are open.
    async fn open(&self, newcomers: Vec<Newcomer>) -> (Listeners, Row) {
        let pace = self.rate.map_or(Pace::InFlight(usize::from(self.at_once)), Pace::Rate);
        let (count, open) = (newcomers.len(), Arc::<Mutex<Vec<Listener>>>::default());
        let there = Arc::clone(&open);
        let join = move |_turn, newcomer: Newcomer| {
            let there = Arc::clone(&there);
            async move {
                let listener = newcomer.join().await?;
                there.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
                Ok(())
            }
        };
        let measured = pace.put(newcomers, Duration::from_secs(self.seconds), join).await;
        let open = std::mem::take(&mut *open.lock().unwrap_or_else(PoisonError::into_inner));
        (Listeners::of(open), measured.row(format!("{count} agents come, {pace}")))
    }

    /// What the server keeps in memory, where it is asked for.
    fn kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        // proc(5): what no file stands behind.
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Whoever gives the orders, if the socket is of the server that the agents are at: no other's keys are to be changed.
    async fn operator(&self) -> anyhow::Result<Option<Operator>> {
        let Some(socket) = &self.admin_socket else { return Ok(None) };
        let operator = Operator { admin: AdminArgs::at(socket.clone()), socket: socket.clone(), left: Cell::default() };
        let (here, there) = (operator.bundle().await?, self.server.fetch("/v1/bundle").await?);
        let [here, there]: [serde_json::Value; 2] = [serde_json::from_slice(&here)?, serde_json::from_slice(&there)?];
        if here.get("keys") != there.get("keys") {
            let what =
                "--admin-socket leads to another server than --server: their bundles differ, and no key was changed";
            return Err(WrongUsage::new(what).into());
        }
        Ok(Some(operator))
    }
}

/// Somebody has seen enough.
async fn stopped() -> anyhow::Error {
    let [interrupt, terminate, hangup] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let (mut interrupt, mut terminate, mut hangup) = match (signal(interrupt), signal(terminate), signal(hangup)) {
        (Ok(interrupt), Ok(terminate), Ok(hangup)) => (interrupt, terminate, hangup),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => return error.into(),
    };
    let name = tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    };
    anyhow::anyhow!("stopped by {name}")
}

/// What an operator does, in our place.
struct Operator {
    admin: AdminArgs,
    socket: PathBuf,
    /// What is left behind if the next answer never comes.
    left: Cell<Left>,
}

impl Operator {
    fn left(&self) -> Option<String> {
        self.left.get().words(&self.socket)
    }

    async fn bundle(&self) -> anyhow::Result<Bytes> {
        let ours = ShowBundleRequest { trust_domain: String::new() };
        Ok(self.admin.ask(async move |mut admin| admin.show_bundle(ours).await).await?.document)
    }

    /// A root's key, in force or not.
    async fn order(&self, order: AuthorityOrder, key: Option<KeyId>) -> anyhow::Result<Taken> {
        let question = ChangeAuthorityRequest {
            authority: AuthorityKind::X509Root.as_str().to_owned(),
            order: order.into(),
            key_id: key.map(|key| key.to_string()).unwrap_or_default(),
            // Nobody waits for half an hour in a measurement.
            force: order == AuthorityOrder::Activate,
            reason: REASON.to_owned(),
            without: Vec::new(),
            adopt: String::new(),
        };
        let answer = self.admin.ask(async move |mut admin| admin.change_authority(question).await).await?;
        Ok(serde_json::from_slice(&answer.taken)?)
    }

    async fn active(&self) -> anyhow::Result<KeyId> {
        let question = ShowAuthorityRequest { authority: AuthorityKind::X509Root.as_str().to_owned() };
        let answer = self.admin.ask(async move |mut admin| admin.show_authority(question).await).await?;
        let outlook: Outlook = serde_json::from_slice(&answer.outlook)?;
        let active =
            outlook.keys.iter().find(|key| key.kind == AuthorityKind::X509Root && key.state == AuthorityState::Active);
        active.map(|key| key.key_id).context("the server has no active root")
    }

    /// Changes keys, and adds how long after each order all had heard of it.
    async fn change(
        &self,
        change: Change,
        (listeners, within): (&mut Listeners, Duration),
        add: &mut impl FnMut(Row) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let count = listeners.count();
        let step = |what: &str| render::progress(&format!("{count} agents: {what}"));
        let former = self.active().await?;
        step("a root is prepared");
        let since = Instant::now();
        self.left.set(Left::Asked);
        let prepared = self.order(AuthorityOrder::Prepare, None).await?.key_id;
        self.left.set(Left::Prepared(prepared));
        let published = sequence(&self.bundle().await?);
        let has = |heard: &Heard| matches!(heard, Heard::Bundle(number) if *number >= published);
        add(listeners.hear(has, since, within).await.row(format!("{count} agents have the new bundle")))?;
        let said = |heard: &Heard| matches!(heard, Heard::Acknowledged(number) if *number >= published);
        add(listeners.hear(said, since, within).await.row(format!("{count} agents have said so")))?;
        if change == Change::Published {
            self.order(AuthorityOrder::Revoke, Some(prepared)).await?;
            self.left.set(Left::Nothing);
            return Ok(());
        }
        self.order(AuthorityOrder::Activate, Some(prepared)).await?;
        self.left.set(Left::Former(former));
        step("the former root is tainted");
        let since = Instant::now();
        self.order(AuthorityOrder::Taint, Some(former)).await?;
        self.left.set(Left::Tainted(former));
        let moved = |heard: &Heard| *heard == Heard::Rekeyed;
        add(listeners.hear(moved, since, within).await.row(format!("{count} agents are on another key")))?;
        step("the former root is revoked");
        let since = Instant::now();
        // Refused while jobs that nobody here renews are on it.
        self.order(AuthorityOrder::Revoke, Some(former)).await?;
        self.left.set(Left::Nothing);
        let last = sequence(&self.bundle().await?);
        let has = |heard: &Heard| matches!(heard, Heard::Bundle(number) if *number >= last);
        add(listeners.hear(has, since, within).await.row(format!("{count} agents trust the former no more")))
    }
}
