//! What `docs/meshes/files.md` says, tried: services that let in the jobs of payments, and learn of renewals by their hook.

mod haproxy;
mod kafka;
mod nginx;
mod postgresql;

use crate::authority::Authority;
use crate::client::{Client, Svid};
use crate::consumer::{AGAIN_AFTER, Running};
use crate::dialogue::Dialogue;
use crate::page;
use crate::place::free_port;
use crate::server::{Server, lanyard};
use crate::sides::{DEPLOY, DEPLOY_ID, OF_LEDGER, OTHERS, PRODUCTION, changed, eventually};
use crate::verdict::{Verdict, verdict};
use crate::world::{Job, World};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS13;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const LEDGER: Job = Job { number: 900, pipeline: "900" };
/// Seconds, so that a few renewals fit into a test.
const BRIEF: &str = "6s";
/// How many of the service's SVIDs callers must have seen.
const SHOWN: usize = 3;

/// Ledger by its recipe: a folder of its own, an agent that writes its files, and what the page calls otherwise.
struct Recipe {
    world: World,
    folder: PathBuf,
    port: u16,
    user: Option<u32>,
    agent: Option<Server>,
    /// What stands in the page, and what stands there for this test.
    places: Vec<(String, String)>,
}

impl Recipe {
    /// By a user, where another one than this test's is wanted.
    fn begin(user: Option<u32>) -> Self {
        Self::lasting(BRIEF, user)
    }

    /// With SVIDs of the service that live so long.
    fn lasting(life: &str, user: Option<u32>) -> Self {
        let of_ledger = "id = \"/{project_path}/-/environments/production\"\nttl = ";
        let policy =
            changed(&page::block("policy.toml"), &format!("{of_ledger}\"15m\""), &format!("{of_ledger}\"{life}\""));
        let world = World::under(&(policy + OTHERS));
        let folder = world.place.file("ledger");
        fs::create_dir(&folder).unwrap();
        let mut recipe = Self { world, folder, port: free_port(), user, agent: None, places: Vec::new() };
        let run = recipe.folder.join("run").display().to_string();
        recipe.put("/run/lanyard", &run);
        recipe.put("8443", &recipe.port.to_string());
        recipe
    }

    fn put(&mut self, of_the_page: &str, here: &str) {
        self.places.push((of_the_page.to_owned(), here.to_owned()));
    }

    fn files(&self) -> PathBuf {
        self.folder.join("run/files")
    }

    /// A file of the page, with this test's places.
    fn text(&self, name: &str) -> String {
        self.places.iter().fold(page::recipe(name), |text, (of_the_page, here)| text.replace(of_the_page, here))
    }

    /// The same in the service's folder.
    fn write(&self, name: &str) -> PathBuf {
        let file = self.folder.join(name);
        fs::write(&file, self.text(name)).unwrap();
        chown(&file, self.user, None).unwrap();
        file
    }

    /// Starts the agent; ready when there are files.
    fn start_agent(&mut self, section: &str) {
        let own = |name: &str, text: &[u8]| {
            let file = self.folder.join(name);
            fs::write(&file, text).unwrap();
            chown(&file, self.user, None).unwrap();
            file.display().to_string()
        };
        let claims = [&PRODUCTION[..], &OF_LEDGER].concat();
        let token = own("id_token", self.world.token_with(&LEDGER, &claims).as_bytes());
        let ca = own("door-ca.pem", &fs::read(self.world.place.data().join("door-ca.pem")).unwrap());
        let agent = page::recipe("agent.toml");
        let agent = changed(&agent, "lanyard.example.org:8443", &format!("127.0.0.1:{}", self.world.place.port));
        let agent = changed(&agent, "/etc/lanyard/door-ca.pem", &ca);
        let agent = changed(&agent, "/run/lanyard/id_token", &token);
        let agent = changed(&agent, "/run/lanyard", &self.folder.join("run").display().to_string());
        own("agent.toml", (agent + &self.text(section)).as_bytes());
        chown(&self.folder, self.user, None).unwrap();
        let mut agent = Server::run(self.lanyard().arg("agent"), &self.folder.join("agent.toml"));
        let files = self.files();
        agent.wait_until(|| files.join("..data").exists());
        self.agent = Some(agent);
    }

    /// The program, by the agent's user, who may not be able to reach where it was built.
    fn lanyard(&self) -> Command {
        let Some(user) = self.user else { return lanyard() };
        let own = self.folder.join("lanyard");
        fs::copy(env!("CARGO_BIN_EXE_lanyard"), &own).unwrap();
        let mut command = Command::new(own);
        command.env_clear().uid(user);
        command
    }

    /// Starts the service itself.
    fn spawn(&self, name: &str, command: Command, stop: rustix::process::Signal) -> Running {
        Running::spawn(name, command, stop, &self.folder, self.port)
    }

    /// An SVID of whoever.
    fn svid(&self, claims: &[&[&str]]) -> Svid {
        self.world.svid_by(self.world.token_with(&DEPLOY, &claims.concat()))
    }

    /// What claims to be a deploy's, under another root of the same name as the one in a file.
    fn impostor(&self, roots: &str) -> Svid {
        Authority::in_the_name_of(&self.files().join(roots)).issue_as(DEPLOY_ID, HOUR).0
    }

    /// How the service takes callers, in the order of the page's table.
    fn takes(&self, dialogue: Dialogue, expected: [Verdict; 4]) {
        let another = ["project_id=4713", "project_path=acme/payments/api-v2"];
        let [deploy, job, neighbour] =
            [&[&PRODUCTION[..]][..], &[], &[&PRODUCTION, &another]].map(|who| self.svid(who));
        let callers = [deploy, job, neighbour, self.impostor("svid_bundle.pem")];
        let bundle = self.files().join("svid_bundle.pem");
        assert_eq!(callers.map(|svid| verdict(&svid, &bundle, self.port, dialogue)), expected);
    }

    /// Callers see one SVID of the service after another, nobody is turned away meanwhile, and nothing but the hook
    /// tells the service.
    fn learns_by_its_hook(&self, dialogue: Dialogue, running: &Running) {
        let deploy = self.svid(&[&PRODUCTION]);
        let client = Client::new(&deploy, &self.files().join("svid_bundle.pem"), &TLS13);
        let mut shown = BTreeSet::new();
        eventually("so many SVIDs were shown", || {
            let visit = client.visit(self.port, dialogue);
            let visit = visit.unwrap_or_else(|refused| panic!("{refused:?}\n{}", running.log()));
            shown.insert(visit.leaf().to_vec());
            thread::sleep(AGAIN_AFTER);
            shown.len() >= SHOWN
        });
        eventually("the newest is shown", || {
            let newest = CertificateDer::from_pem_file(self.files().join("svid.pem")).unwrap();
            client.visit(self.port, dialogue).unwrap().leaf() == &newest
        });
    }

    /// The files with a key are their user's alone.
    fn keeps_its_keys(&self, names: &[&str]) {
        let user = fs::metadata(&self.folder).unwrap().uid();
        for name in names {
            let found = fs::metadata(self.files().join(name)).unwrap();
            assert_eq!((found.mode() & 0o777, found.uid()), (0o600, user), "{name}");
        }
    }
}

/// What a place of the page is, where files are of this machine.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
