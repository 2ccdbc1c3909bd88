//! OpenSSL's own server, one client at a time.

use crate::consumer::{Consumer, Learns, Setting};
use crate::dialogue::Dialogue;
use std::process::Command;

struct OpenSsl;

impl Consumer for OpenSsl {
    fn name(&self) -> &'static str {
        "openssl"
    }

    fn dialogue(&self) -> Dialogue {
        Dialogue::Lines
    }

    fn learns(&self) -> Learns {
        Learns::Restart
    }

    fn prepare(&self, setting: &Setting) -> Command {
        let mut command = Command::new("sh");
        command.arg(setting.write("s_server.sh"));
        command
    }

    fn serves_many(&self) -> bool {
        false
    }
}

#[test]
fn openssl() {
    crate::row::hold(&OpenSsl);
}
