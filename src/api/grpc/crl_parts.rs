//! What an agent hears of revocation lists: the newest set in parts, and no former one.

use crate::api::desk::Desk;
use crate::authority::Crls;
use crate::session::CrlsWatch;
use crate::wire::lanyard::CrlsPart;
use crate::wire::lanyard::event::Kind;
use std::sync::{Arc, Weak};

/// One frame of HTTP/2: ten thousand agents that read slowly hold no more than this each.
const PART_BYTES: usize = 16 * 1024 - 64;

/// The sets for one agent.
pub(super) struct CrlParts {
    made: CrlsWatch,
    /// The set that the agent holds, or will when all parts are with it.
    number: u64,
    /// What is on its way, and how much of it has been said. Whoever reads slowly, or not at all, keeps no set alive.
    on_its_way: Option<(Weak<Crls>, usize)>,
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
                self.on_its_way = Some((Arc::downgrade(&set), 0));
            } else if self.made.changed().await.is_err() {
                // The server stops, and the stream says so.
                std::future::pending::<()>().await;
            }
        }
    }

    /// None when all is said, or when the set is gone: then the newest begins at its start.
    fn part(&mut self) -> Option<CrlsPart> {
        let (gone, said) = self.on_its_way.take()?;
        let set = gone.upgrade()?;
        let end = set.pem.len().min(said + PART_BYTES);
        let (pem, last) = (set.pem.slice(said..end), end == set.pem.len());
        let part = CrlsPart { number: set.number, offset: u64::try_from(said).unwrap_or(u64::MAX), pem, last };
        if !last {
            self.on_its_way = Some((Arc::downgrade(&set), end));
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::collections::BTreeMap;
    use time::OffsetDateTime;
    use tokio::sync::watch;

    fn set(number: u64) -> Arc<Crls> {
        let (made_at, pem) = (OffsetDateTime::UNIX_EPOCH, Bytes::from(vec![7; 2 * PART_BYTES]));
        let (lists, etag) = (BTreeMap::new(), String::new());
        Arc::new(Crls { number, made_at, next_update: made_at, revoked: 0, lists, pem, etag })
    }

    async fn next_of(parts: &mut CrlParts) -> CrlsPart {
        let Kind::Crls(part) = parts.next().await else { panic!("no part") };
        part
    }

    #[tokio::test]
    async fn a_stream_that_is_not_read_keeps_no_former_set_and_goes_on_with_the_newest_from_its_start() {
        let (made, watched) = watch::channel(Some(set(1)));
        let mut parts = CrlParts { made: watched, number: 0, on_its_way: None };
        let first = next_of(&mut parts).await;
        assert_eq!((first.number, first.offset, first.last), (1, 0, false));
        let former = made.borrow().as_ref().map(Arc::downgrade).unwrap();
        made.send_replace(Some(set(2)));
        assert!(former.upgrade().is_none(), "a former set is kept");
        for (offset, last) in [(0, false), (first.pem.len(), true)] {
            let part = next_of(&mut parts).await;
            assert_eq!((part.number, part.offset, part.last), (2, u64::try_from(offset).unwrap(), last));
        }
    }
}
