//! What a scrape tells of our signing keys: how many there are, where they live, and until when those that sign may.

use crate::backups::done;
use crate::callers::now;
use crate::place::Place;
use crate::server::{Server, lanyard};
use std::process::Command;

/// The value of a line of the page of metrics.
fn metric(place: &Place, line: &str) -> Option<i64> {
    let url = format!("http://127.0.0.1:{}/metrics", place.health_port);
    let page = done(&Command::new("curl").args(["--silent", "--show-error", &url]).output().unwrap());
    page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

fn keys(place: &Place, kind: &str, state: &str) -> Option<i64> {
    metric(place, &format!("lanyard_authority_keys{{kind=\"{kind}\",place=\"keyring\",state=\"{state}\"}}"))
}

#[test]
fn a_scrape_tells_where_keys_live_how_they_stand_and_when_they_end() {
    let place = Place::new();
    let mut server = Server::start(&place);
    server.wait_until(|| keys(&place, "journal", "active").is_some());
    for (kind, days) in [("x509-root", 3650), ("x509-intermediate", 1), ("jwt", 90)] {
        assert_eq!((keys(&place, kind, "active"), keys(&place, kind, "prepared")), (Some(1), None), "{kind}");
        let ends_at = metric(&place, &format!("lanyard_authority_not_after_seconds{{kind=\"{kind}\"}}")).unwrap();
        let (least, most) = (days * 86_400 - 300, days * 86_400);
        let left = ends_at - now().unix_timestamp();
        assert!((least..=most).contains(&left), "{kind} ends in {left} s");
    }
    let prepare = ["authority", "prepare", "--kind", "jwt", "--admin-socket"];
    done(&lanyard().args(prepare).arg(place.data().join("admin.sock")).output().unwrap());
    server.wait_until(|| keys(&place, "jwt", "prepared") == Some(1));
    assert_eq!(keys(&place, "jwt", "active"), Some(1));
}
