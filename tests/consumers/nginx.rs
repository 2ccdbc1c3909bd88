//! nginx.

use crate::consumer::{Consumer, Learns, Running, Sessions, Setting, run};
use crate::dialogue::Dialogue;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) enum Nginx {
    AsItComes,
    /// As many installations have it, for what handshakes cost.
    SharedCache,
}

/// What every installation has around a server of its own.
const AROUND: &str = "
daemon off;
error_log stderr info;
pid FOLDER/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    include FOLDER/nginx.conf;
}
";

impl Nginx {
    /// The file to start it with, in the folder that is its own.
    pub(crate) fn whole(folder: &Path) -> PathBuf {
        folder.join("whole.conf")
    }

    /// How it is started on the server that the folder's `nginx.conf` is.
    pub(crate) fn command(folder: &Path) -> Command {
        fs::write(Self::whole(folder), AROUND.replace("FOLDER", &folder.display().to_string())).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(Self::whole(folder));
        command
    }
}

impl Consumer for Nginx {
    fn name(&self) -> &'static str {
        match self {
            Self::AsItComes => "nginx",
            Self::SharedCache => "nginx, shared session cache",
        }
    }

    fn dialogue(&self) -> Dialogue {
        Dialogue::Http
    }

    fn learns(&self) -> Learns {
        Learns::Reload
    }

    fn prepare(&self, setting: &Setting) -> Command {
        let mut server = setting.text("nginx.conf");
        if let (Self::SharedCache, Sessions::AsItComes) = (self, setting.sessions) {
            server = server.replace(
                "    return",
                "    ssl_session_tickets off;\n    ssl_session_cache shared:mtls:1m;\n    return",
            );
        }
        fs::write(setting.folder.join("nginx.conf"), server).unwrap();
        Self::command(&setting.folder)
    }

    fn reload(&self, setting: &Setting, running: &Running) {
        let reload = || run(Command::new("nginx").arg("-c").arg(Self::whole(&setting.folder)).args(["-s", "reload"]));
        running.replace_workers(reload);
    }
}

#[test]
fn nginx() {
    crate::row::hold(&Nginx::AsItComes);
}

#[test]
fn nginx_with_a_shared_session_cache() {
    crate::row::hold(&Nginx::SharedCache);
}
