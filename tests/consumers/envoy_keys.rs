//! Our keys change, by the commands that operators type, while two Envoys and a program make new connections without a
//! pause: not one request fails.

use crate::page;
use crate::rotations::{Calls, KEYS, Operator, Over};
use crate::sides::{Mesh, eventually};
use crate::visitors::{Program, Visitor};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Seconds, so that SVIDs follow a new key while a test waits.
const TTL: Duration = Duration::from_secs(6);
/// Of the connections between the two Envoys: each sees a handshake a second, both ways.
const A_SECOND: Duration = Duration::from_secs(1);

#[test]
fn no_request_through_two_envoys_fails_while_intermediate_and_root_change_and_the_old_root_goes() {
    keys_change("");
}

/// A proxy with lists refuses whatever it has no list for: those of each new authority are there before it signs.
#[test]
fn none_fails_either_where_both_envoys_take_revocation_lists_beside_the_roots() {
    keys_change(&page::block("lists.toml"));
}

fn keys_change(agents: &str) {
    let mesh = Mesh::with((TTL, A_SECOND), KEYS, agents);
    let began = Instant::now();
    let mut direct = Program::go_spiffe(&mesh.deploy.path("sockets/api.sock"));
    let (calls, ledger) = (Calls::default(), format!("127.0.0.1:{}", mesh.right.port));
    let operator = Operator { world: &mesh.world, calls: &calls };
    let proxied = || {
        let answer = mesh.call();
        let logs = || format!("{}{}", mesh.left.running.log(), mesh.right.running.log());
        (answer.status == 200).then_some(()).ok_or_else(|| format!("{answer:?}\n{}", logs()))
    };
    thread::scope(|scope| {
        for _caller in 0..2 {
            scope.spawn(|| calls.keep_calling(proxied));
        }
        scope.spawn(|| calls.keep_calling(|| direct.visit(&ledger)));
        // Callers end with whatever ends this.
        let _over = Over(&calls);
        calls.go_well("the start");
        let former = operator.active("x509-root");
        operator.changes_the_intermediate();
        let new = operator.changes_the_root();
        assert_eq!(operator.active("x509-root"), new);
        operator.takes_out(&former);
        eventually("the old root is gone", || {
            let listed = operator.types(&["list"]).unwrap();
            listed["keys"].as_array().unwrap().iter().all(|key| key["key_id"] != former || key["state"] == "removed")
        });
        let connections = mesh.left.count("cluster.ledger.upstream_cx_total");
        eventually("connections under the new root alone", || {
            mesh.left.count("cluster.ledger.upstream_cx_total") > connections + 2
        });
        calls.go_well("the end of the old root");
    });
    for proxy in [&mesh.left, &mesh.right] {
        let refused = ["default", "ROOTCA"].map(|name| proxy.count(&format!("sds.{name}.update_rejected")));
        assert_eq!(refused, [0, 0]);
        assert!(proxy.count("sds.ROOTCA.update_success") >= 3, "both roots, then the new one alone");
    }
    let connections = mesh.left.count("cluster.ledger.upstream_cx_total");
    let made = calls.made.load(Ordering::SeqCst);
    println!("{made} calls, {connections} connections between the Envoys, {:.0?}", began.elapsed());
}
