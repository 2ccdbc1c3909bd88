//! `lanyard authority taint`, after its order, and `plan --watch`: how far everybody is off the tainted keys, while it happens,
//! and what a thief of one can still do.

use super::admin::AdminArgs;
use super::render;
use crate::authority::{AuthorityKind, Exposure, Pace, Rekeying};
use crate::wire::lanyard::ShowRekeyingRequest;
use serde::Serialize;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};

/// How often the server is asked; it goes through its sessions for it.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The state as machines read it, an object a line whenever it has changed.
#[derive(Serialize)]
struct Progress<'a> {
    #[serde(flatten)]
    state: &'a Rekeying,
    per_second: Option<u64>,
    seconds_left: Option<u64>,
}

/// How it is now.
pub(super) async fn ask(server: &AdminArgs) -> anyhow::Result<Rekeying> {
    let answer = server.ask(async |mut admin| admin.show_rekeying(ShowRekeyingRequest {}).await).await?;
    Ok(serde_json::from_slice(&answer.rekeying)?)
}

/// Shows it until no live SVID is on a tainted key, or until somebody has seen enough; the server does not need us for it.
pub(super) async fn follow(server: &AdminArgs, json: bool) -> anyhow::Result<()> {
    // Once: what comes while the server is asked is not lost.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let (mut pace, mut began, mut told) = (Pace::default(), None, None::<(usize, usize)>);
    loop {
        let state = ask(server).await?;
        pace.see(state.at, state.remaining);
        let began = *began.get_or_insert(state.at);
        let sum = Some((state.remaining, state.rekeyed));
        if json && told != sum {
            let (per_second, left) = (pace.per_second(), pace.left());
            render::json(&Progress { state: &state, per_second, seconds_left: left.map(|left| left.as_secs()) })?;
        }
        // The last SVID was signed; a look later it is with its workload, too.
        let has_arrived = told.is_none_or(|(remaining, _)| remaining == 0);
        told = sum;
        if state.remaining == 0 && has_arrived {
            render::progress("");
            return if json { Ok(()) } else { render::say(&done(&state, began)) };
        }
        if !json {
            render::progress(&under_way(&state, &pace));
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            _ = interrupted.recv() => {
                render::progress("");
                render::aside(
                    "the server goes on renewing what the tainted keys signed; `lanyard authority plan --watch` shows it",
                );
                return Ok(());
            }
        }
    }
}

fn under_way(state: &Rekeying, pace: &Pace) -> String {
    let Rekeying { remaining, rekeyed, .. } = state;
    let all = remaining + rekeyed;
    let told = format!("{remaining} of {} on tainted keys, {rekeyed} re-keyed", render::count(all, "live SVID"));
    match (pace.per_second(), pace.left()) {
        (Some(rate), Some(left)) => format!("{told}, {rate} a second, {} s left", left.as_secs()),
        _ => format!("{told}; all by {} at the latest", by(state).map(render::time).unwrap_or_default()),
    }
}

/// When the last one is over by itself, even if nobody renews it.
fn by(state: &Rekeying) -> Option<OffsetDateTime> {
    let left = state.exposures.iter().filter(|exposure| exposure.remaining > 0);
    left.map(|exposure| exposure.svids_end_by).max()
}

fn done(state: &Rekeying, began: OffsetDateTime) -> String {
    let took = (state.at - began).whole_seconds();
    let told = format!(
        "no live X.509-SVID is on a tainted key; {} on others, after {took} s",
        render::count(state.rekeyed, "live SVID")
    );
    let next = state.exposures.iter().map(|exposure| {
        let Exposure { authority, key_id, svids_end_by, .. } = exposure;
        // Nobody counts live JWT-SVIDs: they are waited for.
        let wait = authority.signs_jwts() && *svids_end_by > state.at;
        let wait = if wait { format!("from {} on: ", render::time(*svids_end_by)) } else { String::new() };
        format!("\nnext: {wait}lanyard authority revoke --kind {} {key_id}", authority.as_str())
    });
    [told].into_iter().chain(next).collect()
}

/// What a thief can still do, for a person.
pub(super) fn exposed(exposure: &Exposure, at: OffsetDateTime) -> String {
    let Exposure { authority, key_id, remaining, svids_end_by, trusted_until, declared, .. } = exposure;
    let longer = exposure.forgotten_after_seconds.div_ceil(60);
    let below = match authority {
        AuthorityKind::X509Root => ", or that of an intermediate under it,",
        AuthorityKind::Jwt | AuthorityKind::JwtRs256 | AuthorityKind::Journal | AuthorityKind::X509Intermediate => "",
    };
    let believed = format!(
        "whoever has {} {key_id}{below} can sign any identity of this trust domain and is believed\n  \
         until {}, its own end, unless you revoke it;\n  \
         after that up to {longer} min longer where the bundle is not read again sooner, by agents' jobs for seconds",
        authority.as_str(),
        render::time(*trusted_until),
    );
    let by_hand = match declared.as_slice() {
        [] => String::new(),
        names => format!(";\n  after that until somebody takes it out at: {}", names.join(", ")),
    };
    let live = match authority {
        AuthorityKind::Jwt | AuthorityKind::JwtRs256 => "JWT-SVIDs".to_owned(),
        AuthorityKind::Journal | AuthorityKind::X509Intermediate | AuthorityKind::X509Root => {
            render::count(*remaining, "live SVID")
        }
    };
    let signed = match render::time(*svids_end_by) {
        end if *svids_end_by > at => format!("\nwhat we signed with it: {live}, over by {end}, renewed or not"),
        _ => String::new(),
    };
    believed + &by_hand + &signed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyAlgorithm, KeyPair};
    use time::macros::datetime;

    #[test]
    fn a_person_reads_how_far_it_is_and_what_to_do_next() {
        let (at, key) = (datetime!(2026-11-21 18:00:00 UTC), KeyPair::generate(KeyAlgorithm::EcP256).unwrap());
        let mut exposure = Exposure {
            authority: AuthorityKind::X509Root,
            key_id: key.public().id(),
            since: at,
            remaining: 900,
            svids_end_by: at + Duration::from_secs(900),
            trusted_until: datetime!(2036-11-21 18:00:00 UTC),
            forgotten_after_seconds: 1800,
            declared: vec!["payments mesh".to_owned()],
        };
        let mut state = Rekeying { at, remaining: 900, rekeyed: 1100, exposures: vec![exposure.clone()] };
        let mut pace = Pace::default();
        pace.see(at - Duration::from_secs(5), 1400);
        assert!(under_way(&state, &pace).ends_with("1100 re-keyed; all by 2026-11-21T18:15:00Z at the latest"));
        pace.see(at, 900);
        let told = under_way(&state, &pace);
        assert_eq!(told, "900 of 2000 live SVIDs on tainted keys, 1100 re-keyed, 100 a second, 9 s left");
        let told = exposed(&exposure, at);
        for word in ["2036-11-21", "30 min longer", "payments mesh", "900 live SVIDs, over by 2026-11-21T18:15:00Z"] {
            assert!(told.contains(word), "{word}: {told}");
        }
        (state.remaining, exposure.authority) = (0, AuthorityKind::Jwt);
        state.exposures.push(exposure);
        let told = done(&state, at - Duration::from_secs(21));
        let next = [
            format!("\nnext: lanyard authority revoke --kind x509-root {}\n", key.public().id()),
            format!("from 2026-11-21T18:15:00Z on: lanyard authority revoke --kind jwt {}", key.public().id()),
        ];
        assert!(told.contains("after 21 s") && next.iter().all(|next| told.contains(next)), "{told}");
    }
}
