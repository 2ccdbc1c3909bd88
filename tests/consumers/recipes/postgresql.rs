//! PostgreSQL: a project, by the common name, as a role of another name.

use super::{Recipe, shown};
use crate::consumer::Consumer as _;
use crate::dialogue::Dialogue;
use crate::postgresql::{Postgres, SMALL};
use crate::verdict::Verdict::{Allowed, Forbidden, Unverified};
use rustix::process::Signal;
use std::fs;

/// The role that `pg_ident.conf` gives to payments, and its database.
const LEDGER: Dialogue = Dialogue::Postgres("payments", "ledger");

#[test]
fn postgresql_admits_each_job_of_the_project_as_its_role_and_shows_every_renewal() {
    let mut recipe = Recipe::begin(Postgres.user());
    let data = recipe.folder.join("data");
    std::os::unix::fs::chown(&recipe.folder, recipe.user, None).unwrap();
    Postgres.make_cluster(&data, "create role payments login\ncreate database ledger\n");
    recipe.put("/usr/lib/postgresql/15/bin/pg_ctl", &Postgres.program("pg_ctl").get_program().display().to_string());
    recipe.put("/var/lib/postgresql/15/main", &shown(&data));
    recipe.start_agent("postgresql-agent.toml");
    let settings = format!("port = {}\n{SMALL}{}", recipe.port, recipe.text("postgresql.conf"));
    fs::write(data.join("postgresql.conf"), settings).unwrap();
    for name in ["pg_hba.conf", "pg_ident.conf"] {
        fs::rename(recipe.write(name), data.join(name)).unwrap();
    }
    let mut command = Postgres.program("postgres");
    command.arg("-D").arg(&data);
    let running = recipe.spawn("PostgreSQL", command, Signal::INT);
    recipe.takes(LEDGER, [Allowed, Allowed, Forbidden, Unverified]);
    recipe.learns_by_its_hook(LEDGER, &running);
    recipe.keeps_its_keys(&["svid_key.pem"]);
}
