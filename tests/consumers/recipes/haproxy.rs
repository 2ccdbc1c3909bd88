//! `HAProxy`: a deploy, by its SPIFFE ID.

use super::{Recipe, shown};
use crate::dialogue::Dialogue::Http;
use crate::sides::Program;
use crate::verdict::Verdict::{Allowed, Forbidden, Unverified};
use rustix::process::Signal;
use std::process::Command;

#[test]
fn haproxy_admits_the_production_deploys_alone_and_shows_every_renewal() {
    let (mut recipe, program) = (Recipe::begin(None), Program::start());
    let pid_file = shown(&recipe.folder.join("haproxy.pid"));
    recipe.put("/run/haproxy.pid", &pid_file);
    recipe.put("127.0.0.1:8080", &format!("127.0.0.1:{}", program.port));
    let script = recipe.write("spiffe_id.lua");
    recipe.put("/etc/haproxy/spiffe_id.lua", &shown(&script));
    recipe.start_agent("haproxy-agent.toml");
    let mut command = Command::new("haproxy");
    command.args(["-W", "-p", &pid_file, "-f"]).arg(recipe.write("haproxy.cfg"));
    let running = recipe.spawn("HAProxy", command, Signal::TERM);
    recipe.takes(Http, [Allowed, Forbidden, Forbidden, Unverified]);
    recipe.learns_by_its_hook(Http, &running);
    recipe.keeps_its_keys(&["svid_combined.pem", "svid_key.pem"]);
}
