//! What an exchange allocates, counted and not timed: a machine that is busy counts the same.

use crate::support::harness::{Agent, Harness, request, x509};
use lanyard::issuance::Bearer;
use tokio::runtime::Builder;

/// So many, so that what is made once in a while shows as a share.
const EXCHANGES: u64 = 64;
/// 216 when this was written, about 40 of them the crypto library's and 40 the certificate's; a tenth of it is to spare.
const COUNT_MAX: u64 = 238;
/// 36 KiB when this was written.
const BYTES_MAX: u64 = 40 << 10;

#[test]
fn an_exchange_allocates_no_more_than_it_is_known_to() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let agent = Agent::new();
    let harness = runtime.block_on(Harness::new());
    let ask = || request(Bearer::Token(harness.issuer.token(harness.now())), x509(), Some(agent.public()));
    runtime.block_on(harness.issuance().issue(ask())).unwrap();
    let mut requests: Vec<_> = (0..EXCHANGES).map(|_| ask()).collect();
    let spent = allocation_counter::measure(|| {
        while let Some(request) = requests.pop() {
            runtime.block_on(harness.issuance().issue(request)).unwrap();
        }
    });
    let (count, bytes) = (spent.count_total / EXCHANGES, spent.bytes_total / EXCHANGES);
    println!("an exchange allocates {count} times, {bytes} bytes");
    assert!(count <= COUNT_MAX && bytes <= BYTES_MAX, "an exchange allocates {count} times, {bytes} bytes");
}
