//! Revocation lists that an agent's secrets carry, obeyed by real Envoys: whoever has ended is refused, and nobody else.

use crate::client::Svid;
use crate::dialogue::Dialogue;
use crate::page;
use crate::sides::{Mesh, PRODUCTION, Side, before_ledger, eventually};
use crate::verdict::{Verdict, verdict};
use crate::world::Job;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);
const A_SECOND: Duration = Duration::from_secs(1);
/// Handshakes of those in good standing after somebody has ended.
const HANDSHAKES: usize = 20;

fn deploy(number: u64) -> Job {
    Job { number, pipeline: "574" }
}

#[test]
fn whoever_has_ended_is_refused_at_the_next_handshake_by_either_validator_and_others_come_in() {
    let lists = page::block("lists.toml");
    let mesh = Mesh::with((HOUR, A_SECOND), "", &lists);
    let plain = Side::with(&mesh.world, "plain", &format!("{lists}validator = \"plain\"\n"));
    plain.login(&mesh.world.token_with(&deploy(31), &PRODUCTION));
    let plain = mesh.another(&plain, &before_ledger(A_SECOND));
    let proxies = [&mesh.right, &plain];
    let (folder, _output) = mesh.deploy.svid("own");
    let bundle = folder.join("svid_bundle.pem");
    let verdicts = |svid: &Svid| proxies.map(|proxy| verdict(svid, &bundle, proxy.port, Dialogue::Http));
    let svid = |number| mesh.world.svid_by(mesh.world.token_with(&deploy(number), &PRODUCTION));
    let [over, next, other] = [7, 8, 9].map(svid);
    for good in [&over, &next, &other] {
        assert_eq!(verdicts(good), [Verdict::Allowed; 2]);
    }

    for (number, ended) in [(7, &over), (8, &next)] {
        let told = proxies.map(|proxy| proxy.count("sds.ROOTCA.update_success"));
        let began = Instant::now();
        mesh.world.tell_the_end_of(&deploy(number));
        eventually("the ended job is refused", || verdicts(ended) == [Verdict::Unverified; 2]);
        println!("refused {:?} after GitLab has said so", began.elapsed());
        for (proxy, before) in proxies.iter().zip(told) {
            assert!(proxy.count("sds.ROOTCA.update_success") > before);
            assert_eq!(proxy.count("sds.ROOTCA.update_rejected"), 0);
        }
    }
    for _ in 0..HANDSHAKES {
        assert_eq!(verdicts(&other), [Verdict::Allowed; 2]);
        assert_eq!(mesh.call().status, 200, "{}", mesh.left.running.log());
    }
    assert_eq!(verdicts(&over), [Verdict::Unverified; 2]);
}
