//! Kafka: its own library's reading of the stores, both sides of its TLS, and who a caller is to a broker.

use super::{Recipe, shown};
use crate::client::Svid;
use crate::consumer::{installed, source};
use crate::sides::{PRODUCTION, changed, eventually};
use crate::visitors::{Program, Visitor as _, serial};
use std::fs;
use std::process::Command;

/// The program beside this folder, on a broker's properties.
fn kafka(recipe: &Recipe) -> Program {
    let mut java = Command::new("java");
    java.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", &installed("LANYARD_TEST_JAVA")]);
    java.arg(source("tests/consumers/Kafka.java")).arg(recipe.write("broker.properties"));
    Program::start("Kafka", java)
}

/// The properties of a client with an SVID, on the page's terms.
fn client(recipe: &Recipe, name: &str, svid: &Svid) -> String {
    let (keystore, properties) = (recipe.folder.join(format!("{name}.pem")), recipe.folder.join(name));
    fs::write(&keystore, format!("{}{}", svid.key, svid.chain)).unwrap();
    let text = recipe.text("client.properties");
    fs::write(&properties, changed(&text, &shown(&recipe.files().join("keystore.pem")), &shown(&keystore))).unwrap();
    shown(&properties)
}

#[test]
fn kafka_knows_each_job_of_the_project_and_shows_every_renewal_once_it_is_told() {
    let mut recipe = Recipe::begin(None);
    let told = recipe.folder.join("told");
    recipe.put("/etc/kafka/reload-stores\"", &format!("touch\", \"{}\"", told.display()));
    recipe.start_agent("kafka-agent.toml");
    recipe.keeps_its_keys(&["keystore.pem"]);
    let mut kafka = kafka(&recipe);

    let deploy = client(&recipe, "deploy", &recipe.svid(&[&PRODUCTION]));
    let first = kafka.visit(&deploy).unwrap();
    let shown_first = first.strip_suffix(" p4711").unwrap();
    let another = recipe.svid(&[&["project_id=4713", "project_path=acme/payments/api-v2"]]);
    assert_eq!(kafka.visit(&client(&recipe, "another", &another)), Ok(format!("{shown_first} p4713")));
    let stranger = recipe.impostor("truststore.pem");
    let refused = kafka.visit(&client(&recipe, "stranger", &stranger)).unwrap_err();
    assert!(refused.contains("does not chain with any of the trust anchors"), "{refused}");

    let newest = || serial(&recipe.files().join("keystore.pem")).ok();
    eventually("a renewal and its hook", || newest().is_some_and(|newest| newest != shown_first) && told.exists());
    assert_eq!(kafka.visit(&deploy), Ok(first), "it reads nothing by itself");
    eventually("the newest is shown", || {
        assert_eq!(kafka.visit("reload"), Ok("reloaded".to_owned()));
        let renewed = newest();
        kafka.visit(&deploy).ok() == renewed.map(|serial| format!("{serial} p4711"))
    });
}
