//! What can be typed; the loads, one after the other; what is shown of them.

use super::agents::{Agents, Call};
use super::listening::{Change, Listen};
use super::load::Pace;
use super::measured::Row;
use super::plot::{Across, svg};
use super::tokens::{Supply, Tokens};
use crate::cli::failure::plain;
use crate::cli::remote::{ServerArgs, typed};
use crate::cli::render;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Puts load on a server of your own, and says how fast it answers
///
/// Every call is a real one: sessions are opened, and the server's journal records them. So the server is typed, never
/// taken from a variable, and whoever owns no server has no use for this.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    load: Load,
}

#[derive(clap::Subcommand, Debug)]
enum Load {
    /// New jobs: each call trades an unused token for an SVID
    Exchange(How),
    /// Running jobs: a hundred sessions are opened, and renewed in turns
    Renew(How),
    /// A whole change of the root's key: agents hear of the new one, and leave the former, which is tainted and revoked
    ///
    /// The keys of the server change for good, whoever else relies on them.
    Rotation(Listen),
    /// Agents that hold a stream open, each with a session of its own, and hear of a change
    Streams(Listen),
}

#[derive(clap::Args, Debug)]
#[command(mut_arg("server", typed))]
struct How {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    tokens: Tokens,
    /// So many agents, each with a connection of its own
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    agents: u16,
    /// So many calls under way, each begun when one ends; several, with commas, are measured in turn
    #[arg(long, value_delimiter = ',', value_name = "N", default_value = "1,8,64", conflicts_with = "rate",
          value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: Vec<u16>,
    /// So many calls a second, whatever the answers do; latency counts from when a call was due
    #[arg(long, value_delimiter = ',', value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Vec<u32>,
    /// So many calls for each load, at most
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// No load begins calls for longer
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// One JSON object a load; latencies in microseconds
    #[arg(long)]
    json: bool,
    /// Latency over load as a picture
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// Sessions that are renewed in turns.
const SESSIONS: usize = 100;

/// Runs the loads.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (json, plot) = match &args.load {
        Load::Exchange(how) | Load::Renew(how) => (how.json, &how.plot),
        Load::Rotation(listen) | Load::Streams(listen) => (listen.json, &listen.plot),
    };
    let told = |row: &Row| {
        render::progress("");
        // Who closed a pipe has read enough; a change of keys that has begun goes on.
        if json { render::unless_closed(render::json(row)) } else { Ok(()) }
    };
    let mut rows = Vec::new();
    let (what, across, outcome) = match &args.load {
        Load::Exchange(how) => ("exchange", Across::Rate, args.load.measure(how, told, &mut rows).await),
        Load::Renew(how) => ("renew", Across::Rate, args.load.measure(how, told, &mut rows).await),
        Load::Rotation(listen) => ("rotation", Across::Agents, listen.measure(Change::Whole, told, &mut rows).await),
        Load::Streams(listen) => ("streams", Across::Agents, listen.measure(Change::Published, told, &mut rows).await),
    };
    if let Some(file) = plot {
        let told = |error| anyhow::anyhow!("{} cannot be written: {}", file.display(), plain(&error));
        std::fs::write(file, svg(what, &rows, across)).map_err(told)?;
    }
    if !json && (outcome.is_ok() || !rows.is_empty()) {
        render::unless_closed(render::rows(&Row::HEAD, rows.iter().map(Row::cells).collect()))?;
    }
    outcome?;
    let all_answered = rows.iter().all(|row| row.answered > 0 && row.refused.is_empty());
    Ok(if all_answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Load {
    /// Each pace in turn, told when it is measured.
    async fn measure(
        &self,
        how: &How,
        told: impl Fn(&Row) -> anyhow::Result<()>,
        rows: &mut Vec<Row>,
    ) -> anyhow::Result<()> {
        let agents = Agents::connect(&how.server, usize::from(how.agents)).await?;
        let mut tokens = how.tokens.supply();
        for pace in how.paces() {
            render::progress(&format!("{pace}: preparing"));
            let calls = self.calls((how, &mut tokens), &agents).await?;
            render::progress(&format!("{pace}: {} calls, {} s at most", calls.len(), how.seconds));
            let callers = agents.clone();
            let call = move |turn, call| callers.clone().call(call, turn);
            let row = pace.put(calls, Duration::from_secs(how.seconds), call).await.row(pace.to_string());
            told(&row)?;
            rows.push(row);
        }
        Ok(())
    }

    /// Made before the load begins: keys and tokens are not the server's time.
    async fn calls(&self, (how, tokens): (&How, &mut Supply<'_>), agents: &Agents) -> anyhow::Result<Vec<Call>> {
        let count = usize::try_from(how.count)?;
        match self {
            Self::Exchange(_) => Agents::exchanges(tokens.take(count)?),
            Self::Renew(_) => agents.renewals(tokens.take(SESSIONS)?, count).await,
            Self::Rotation(_) | Self::Streams(_) => Ok(Vec::new()),
        }
    }
}

impl How {
    fn paces(&self) -> Vec<Pace> {
        if self.rate.is_empty() {
            return self.in_flight.iter().map(|count| Pace::InFlight(usize::from(*count))).collect();
        }
        self.rate.iter().map(|rate| Pace::Rate(*rate)).collect()
    }
}
