//! What can be typed; the loads, one after the other; what is shown of them.

use super::agents::{Agents, Call};
use super::load::Pace;
use super::measured::Row;
use super::plot::svg;
use super::tokens::{Supply, Tokens};
use crate::cli::failure::{WrongUsage, plain};
use crate::cli::remote::ServerArgs;
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
}

#[derive(clap::Args, Debug)]
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
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
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
    let (what, how) = match &args.load {
        Load::Exchange(how) => ("exchange", how),
        Load::Renew(how) => ("renew", how),
    };
    if !how.server.is_typed() {
        return Err(WrongUsage::new("name the server to put load on with --server URL; no variable counts here").into());
    }
    let agents = Agents::connect(&how.server, usize::from(how.agents)).await?;
    let (mut rows, mut tokens) = (Vec::new(), how.tokens.supply());
    for pace in how.paces() {
        render::progress(&format!("{pace}: preparing"));
        let calls = args.load.calls((how, &mut tokens), &agents).await?;
        render::progress(&format!("{pace}: {} calls, {} s at most", calls.len(), how.seconds));
        let measured = pace.put(&agents, calls, Duration::from_secs(how.seconds)).await;
        render::progress("");
        let row = measured.row(pace.to_string());
        if how.json {
            render::json(&row)?;
        }
        rows.push(row);
    }
    if let Some(file) = &how.plot {
        let told = |error| anyhow::anyhow!("{} cannot be written: {}", file.display(), plain(&error));
        std::fs::write(file, svg(what, &rows)).map_err(told)?;
    }
    if !how.json {
        render::rows(&Row::HEAD, rows.iter().map(Row::cells).collect())?;
    }
    let all_answered = rows.iter().all(|row| row.answered > 0 && row.refused.is_empty());
    Ok(if all_answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Load {
    /// Made before the load begins: keys and tokens are not the server's time.
    async fn calls(&self, (how, tokens): (&How, &mut Supply<'_>), agents: &Agents) -> anyhow::Result<Vec<Call>> {
        let count = usize::try_from(how.count)?;
        match self {
            Self::Exchange(_) => Agents::exchanges(tokens.take(count)?),
            Self::Renew(_) => agents.renewals(tokens.take(SESSIONS)?, count).await,
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
