//! Secrets for the proxies of several jobs on one host: each job's own, over either socket, as long as the proxy stays in
//! its job. Needs root and cgroups.

use crate::cgroups::{Relay, is_refused, put};
use crate::host::{A, B, Host, id, loose};
use crate::sds::{Proxy, for_names, id_of, secrets, taken};
use crate::support::beside::{Beside, until, within};
use lanyard::agent::AgentSettings;
use lanyard::wire::sds::secret::Type;
use lanyard::wire::sds::secret_discovery_service_client::SecretDiscoveryServiceClient;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn the_proxies_of_two_jobs_on_one_host_get_their_own_secrets_only() {
    let host = Host::open("v2").await;
    let mesh = host.site.path("mesh/lanyard.sock");
    let settings = AgentSettings { sds_socket: Some(mesh.clone()), ..host.settings(loose()) };
    let _agent = Beside::start(settings, &host.site.clock);
    let (a, b) = (host.job("job-a", A).await, host.job("job-b", B).await);
    until(|| mesh.exists()).await;
    let elsewhere = host.cgroups.cgroup("elsewhere");
    for socket in [host.socket(), mesh] {
        for (job, own, other) in [(&a, A, B), (&b, B, A)] {
            let mut relay = Relay::start(&job.cgroup, &socket);
            let all = secrets(&Proxy::over(relay.channel(), for_names(&[])).await.next().await.unwrap());
            let svids = all.iter().filter(|secret| matches!(secret.r#type, Some(Type::TlsCertificate(_))));
            let ids: Vec<_> = svids.map(id_of).collect();
            assert!(!ids.is_empty() && ids.iter().all(|served| *served == id(own)), "{ids:?}");
            let mut relay = Relay::start(&job.cgroup, &socket);
            let refused = Proxy::over(relay.channel(), for_names(&[&id(other)])).await.next().await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
        let mut relay = Relay::start(&elsewhere, &socket);
        let mut client = SecretDiscoveryServiceClient::new(relay.channel());
        let refused = within(client.fetch_secrets(for_names(&["default"]))).await;
        assert!(is_refused(&refused), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_was_moved_to_another_job_gets_nothing_by_asking_for_another_name() {
    let host = Host::open("v2").await;
    let _agent = Beside::start(host.settings(loose()), &host.site.clock);
    let (a, b) = (host.job("job-a", A).await, host.job("job-b", B).await);
    let mut moved = Relay::start(&a.cgroup, &host.socket());
    let mut proxy = Proxy::over(moved.channel(), for_names(&["ROOTCA"])).await;
    let first = proxy.next().await.unwrap();
    put(moved.pid(), &b.cgroup);
    proxy.send(taken(&first, &["default"])).await;
    let asked = proxy.next().await;
    assert!(is_refused(&asked), "{asked:?}");
}
