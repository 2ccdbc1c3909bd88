//! What an agent hears of revocation lists: the newest set in parts, and no former one.

use crate::api::desk::Desk;
use crate::authority::Crls;
use crate::session::CrlsWatch;
use crate::wire::lanyard::CrlsPart;
use crate::wire::lanyard::event::Kind;
use std::sync::Arc;

/// One frame of HTTP/2: ten thousand agents that read slowly hold no more than this each.
const PART_BYTES: usize = 16 * 1024 - 64;

/// The sets for one agent.
pub(super) struct CrlParts {
    made: CrlsWatch,
    /// The set that the agent holds, or will when all parts are with it.
    number: u64,
    /// What is on its way, and how much of it has been said.
    on_its_way: Option<(Arc<Crls>, usize)>,
}

impl CrlParts {
    /// For an agent that holds this set already, or why there are none.
    pub(super) fn of(desk: &Desk, held: u64) -> Result<Self, Kind> {
        match &desk.crls {
            Some(made) => Ok(Self { made: made.clone(), number: held, on_its_way: None }),
            None => Err(Kind::CrlsOff(crate::api::desk::CRL_OFF.to_owned())),
        }
    }

    /// The next part, as soon as there is one. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> Kind {
        loop {
            if let Some(part) = self.part() {
                return Kind::Crls(part);
            }
            let newest = self.made.borrow_and_update().clone();
            if let Some(set) = newest.filter(|set| set.number != self.number) {
                self.number = set.number;
                self.on_its_way = Some((set, 0));
            } else if self.made.changed().await.is_err() {
                // The server stops, and the stream says so.
                std::future::pending::<()>().await;
            }
        }
    }

    fn part(&mut self) -> Option<CrlsPart> {
        let (set, said) = self.on_its_way.take()?;
        let end = set.pem.len().min(said + PART_BYTES);
        let (pem, last) = (set.pem.slice(said..end), end == set.pem.len());
        let part = CrlsPart { number: set.number, offset: u64::try_from(said).unwrap_or(u64::MAX), pem, last };
        if !last {
            self.on_its_way = Some((set, end));
        }
        Some(part)
    }
}
