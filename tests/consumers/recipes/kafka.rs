//! Kafka: a real broker on the page's stores and properties, its own client, and the page's command that tells it of renewals.

use super::{Recipe, shown};
use crate::client::{Client, Svid};
use crate::consumer::source;
use crate::dialogue::Dialogue;
use crate::installed::installed;
use crate::place::free_port;
use crate::sides::{PRODUCTION, changed, eventually};
use crate::visitors::{Program, Visitor as _};
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::TLS13;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// The page's command is a JVM of its own, and must not race with the end of an SVID.
const LIFE: &str = "15m";

/// What a broker says of itself that has nothing to do with identities.
const OF_ITS_OWN: &str = "
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:PORT
log.dirs=FOLDER/topics
offsets.topic.replication.factor=1
";

/// A JVM that compiles little and takes little.
fn java() -> Vec<String> {
    ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx256m", "-cp", &installed("LANYARD_TEST_JAVA")]
        .map(str::to_owned)
        .to_vec()
}

/// The program beside this folder.
fn kafka(words: [&str; 2]) -> Command {
    let [java, options @ ..] = &java()[..] else { panic!("a command") };
    let mut command = Command::new(java);
    command.args(options).arg(source("tests/consumers/Kafka.java")).args(words);
    command
}

/// The page's broker at ports of this test's: for clients, and for the machine itself.
struct Broker {
    recipe: Recipe,
    local: String,
}

impl Broker {
    fn begin() -> Self {
        let mut recipe = Recipe::lasting(LIFE, None);
        let (local, mtls) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", recipe.port));
        let (controller, folder) = (free_port().to_string(), shown(&recipe.folder));
        let own = OF_ITS_OWN.replace("PORT", &controller).replace("FOLDER", &folder);
        recipe.put("LOCAL://127.0.0.1:9092", &format!("LOCAL://{local},CONTROLLER://127.0.0.1:{controller}"));
        recipe.put("LOCAL:PLAINTEXT", "LOCAL:PLAINTEXT,CONTROLLER:PLAINTEXT");
        recipe.put("MTLS://:9093", &format!("MTLS://{mtls}"));
        recipe.put("\nauthorizer.class", &format!("{own}authorizer.class"));
        let command = java().join("' '");
        recipe.put("kafka-configs.sh", &format!("'{command}' kafka.admin.ConfigCommand"));
        recipe.put("localhost:9092", &local);
        let script = recipe.write("reload-stores");
        // The page's first line is the file's name.
        fs::write(&script, recipe.text("reload-stores").split_once('\n').unwrap().1).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        recipe.put("/etc/kafka/reload-stores", &shown(&script));
        Self { recipe, local }
    }

    /// The properties of a client with an SVID, on the page's terms, as the program is told them.
    fn write_with(&self, name: &str, svid: &Svid) -> String {
        let recipe = &self.recipe;
        let (keystore, properties) = (recipe.folder.join(format!("{name}.pem")), recipe.folder.join(name));
        fs::write(&keystore, format!("{}{}", svid.key, svid.chain)).unwrap();
        let text = recipe.text("client.properties");
        fs::write(&properties, changed(&text, &shown(&recipe.files().join("keystore.pem")), &shown(&keystore)))
            .unwrap();
        format!("write ledger 127.0.0.1:{} {}", recipe.port, shown(&properties))
    }
}

#[test]
fn a_broker_lets_in_the_jobs_that_its_list_names_by_project_and_shows_every_renewal_once_it_is_told() {
    let mut broker = Broker::begin();
    broker.recipe.start_agent("kafka-agent.toml");
    broker.recipe.keeps_its_keys(&["keystore.pem"]);
    let properties = broker.recipe.write("broker.properties");
    let running = broker.recipe.spawn("Kafka", kafka(["serve", &shown(&properties)]), Signal::TERM);

    let mut speaks = Program::start("Kafka's client", kafka(["speak", &broker.local]));
    assert_eq!(speaks.visit("allow ledger User:p4711"), Ok("ledger".to_owned()), "{}", running.log());
    let recipe = &broker.recipe;
    let deploy = broker.write_with("deploy", &recipe.svid(&[&PRODUCTION]));
    for offset in ["0", "1"] {
        assert_eq!(speaks.visit(&deploy), Ok(offset.to_owned()), "{}", running.log());
    }
    let another = recipe.svid(&[&["project_id=4713", "project_path=acme/payments/api-v2"]]);
    let refused = speaks.visit(&broker.write_with("another", &another)).unwrap_err();
    assert!(refused.contains("TopicAuthorizationException"), "{refused}");
    let stranger = recipe.impostor("truststore.pem");
    let refused = speaks.visit(&broker.write_with("stranger", &stranger)).unwrap_err();
    assert!(refused.contains("SslAuthenticationException"), "{refused}");

    let client = Client::new(&recipe.svid(&[&PRODUCTION]), &recipe.files().join("truststore.pem"), &TLS13);
    let port = recipe.port;
    let shown_leaf = || client.visit(port, Dialogue::Kafka).unwrap().leaf().clone();
    let before = shown_leaf();
    // Who comes back begins with a new SVID, long before the former ends.
    broker.recipe.agent = None;
    broker.recipe.start_agent("kafka-agent.toml");
    let newest = || CertificateDer::from_pem_file(broker.recipe.files().join("keystore.pem")).ok();
    eventually("a renewal", || newest().is_some_and(|newest| newest != before));
    eventually("its hook has told the broker", || newest() == Some(shown_leaf()));
    assert_eq!(speaks.visit(&deploy), Ok("2".to_owned()), "{}", running.log());
}
