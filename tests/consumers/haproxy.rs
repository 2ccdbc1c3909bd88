//! `HAProxy`, with the master process that its unit starts.

use crate::consumer::{Consumer, Learns, Running, Setting};
use crate::dialogue::Dialogue;
use rustix::process::Signal;
use std::process::Command;

struct Haproxy;

impl Consumer for Haproxy {
    fn name(&self) -> &'static str {
        "HAProxy"
    }

    fn dialogue(&self) -> Dialogue {
        Dialogue::Http
    }

    fn learns(&self) -> Learns {
        Learns::Reload
    }

    fn prepare(&self, setting: &Setting) -> Command {
        let mut command = Command::new("haproxy");
        command.args(["-W", "-f"]).arg(setting.write("haproxy.cfg"));
        command
    }

    fn reload(&self, _setting: &Setting, running: &Running) {
        running.replace_workers(|| running.signal(Signal::USR2));
    }
}

#[test]
fn haproxy() {
    crate::row::hold(&Haproxy);
}
