//! nginx: a project, by the subject.

use super::{Recipe, shown};
use crate::dialogue::Dialogue::Http;
use crate::nginx::Nginx;
use crate::sides::Program;
use crate::verdict::Verdict::{Allowed, Forbidden, Unverified};
use rustix::process::Signal;
use serde_json::json;
use std::fs;

#[test]
fn nginx_admits_each_job_of_the_project_and_shows_every_renewal() {
    let (mut recipe, program) = (Recipe::begin(None), Program::start());
    let whole = shown(&Nginx::whole(&recipe.folder));
    recipe.put(r#"["nginx", "-s", "reload"]"#, &json!(["nginx", "-c", whole, "-s", "reload"]).to_string());
    recipe.put("127.0.0.1:8080", &format!("127.0.0.1:{}", program.port));
    recipe.start_agent("nginx-agent.toml");
    fs::rename(recipe.write("ledger.conf"), recipe.folder.join("nginx.conf")).unwrap();
    let running = recipe.spawn("nginx", Nginx::command(&recipe.folder), Signal::TERM);
    recipe.takes(Http, [Allowed, Allowed, Forbidden, Unverified]);
    recipe.learns_by_its_hook(Http, &running);
    recipe.keeps_its_keys(&["svid_key.pem"]);
}
