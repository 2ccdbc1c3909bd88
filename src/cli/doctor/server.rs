//! The server, from here: its name, its port, its certificate, its answer, its clock.

use super::finding::Finding;
use crate::cli::failure::plain;
use crate::cli::remote::{RemoteError, ServerArgs};
use crate::clock::{Clock as _, SystemClock};
use crate::telemetry::chain;
use crate::tls::{CertificateFault, ServerTrust, TlsClient, TlsError};
use crate::wire::{HttpsClient, HttpsError, ServerUrl};
use bytes::Bytes;
use http::{Response, header};
use time::format_description::well_known::Rfc2822;
use time::{Duration, OffsetDateTime};

/// More than this, and tokens come from the future or are over.
const CLOCKS_APART_MAX: Duration = Duration::seconds(30);

/// What a server's port answers to anybody.
const PAGE: &str = "/v1/bundle";

/// Looks at the server that a command would ask; whether it answers as one.
pub(super) async fn look(args: &ServerArgs) -> (Vec<Finding>, bool) {
    let mut seen = Vec::new();
    let named = args.url().and_then(|url| Ok((url, args.trust()?)));
    let wrong = match named {
        Ok((url, trust)) => at(&mut seen, &url, &trust).await.err(),
        Err(error) => Some(misnamed(&error)),
    };
    let answers = wrong.is_none();
    seen.extend(wrong);
    (seen, answers)
}

/// Looks at this one, until something is wrong.
pub(super) async fn at(seen: &mut Vec<Finding>, url: &ServerUrl, trust: &ServerTrust) -> Result<(), Finding> {
    seen.push(found_by_name(url).await?);
    let tls = TlsClient::new(trust, None, &["http/1.1"]).map_err(|error| untrusted(&error))?;
    let answer = HttpsClient::new(url.clone(), tls).get(PAGE).await;
    let answer = answer.map_err(|error| silent(url, trust, &error))?;
    seen.push(Finding::good("server TLS", format!("its certificate is good by {trust}")));
    seen.push(is_ours(url, &answer)?);
    seen.push(same_time(&answer, SystemClock.now())?);
    Ok(())
}

fn misnamed(error: &RemoteError) -> Finding {
    let remedy = if matches!(error, RemoteError::CaFile { .. } | RemoteError::Digest(_) | RemoteError::Tls(_)) {
        "name the PEM file of the server's door CA by LANYARD_SERVER_CA, or its digest by --server-ca-sha256"
    } else {
        "the job's variables should name it: LANYARD_SERVER=https://host:port"
    };
    Finding::wrong("server address", error.to_string(), remedy)
}

async fn found_by_name(url: &ServerUrl) -> Result<Finding, Finding> {
    let at = url.host_and_port();
    let remedy = "mend LANYARD_SERVER, or this machine's DNS; inside a container it may be another than outside";
    let found = tokio::net::lookup_host(at.clone()).await;
    let addresses: Vec<_> = found.map_err(|error| lookup_failed(&at, &error, remedy))?.collect();
    let Some(first) = addresses.first() else {
        return Err(Finding::wrong("server name", format!("{at} has no address"), remedy));
    };
    Ok(Finding::good("server name", format!("{url} is {}", first.ip())))
}

fn lookup_failed(at: &str, error: &std::io::Error, remedy: &str) -> Finding {
    Finding::wrong("server name", format!("{at} cannot be found: {}", plain(error)), remedy)
}

fn untrusted(error: &TlsError) -> Finding {
    let remedy = "install ca-certificates, or name the server's door CA by LANYARD_SERVER_CA or --server-ca-sha256";
    Finding::wrong("server TLS", chain(error), remedy)
}

/// Why there is no answer: the port, the handshake, or what came after it.
fn silent(url: &ServerUrl, trust: &ServerTrust, error: &HttpsError) -> Finding {
    let said = chain(error);
    match error {
        HttpsError::Connect(TlsError::Unreachable { .. }) => {
            let remedy = "is it up, and do firewalls and network policies let this machine through to its port?";
            Finding::wrong("server port", said, remedy)
        }
        HttpsError::Connect(tls) => Finding::wrong("server TLS", said, distrusted(url, trust, tls.certificate_fault())),
        HttpsError::Exchange { .. } | HttpsError::Slow { .. } | HttpsError::AnswerTooLarge { .. } => {
            Finding::wrong("server answer", said, "what stands before it must pass TLS through, and not answer itself")
        }
        HttpsError::Request(_) => Finding::wrong("server answer", said, "mend LANYARD_SERVER"),
    }
}

/// What to do where the server's certificate is not believed.
pub(in crate::cli) fn distrusted(url: &ServerUrl, trust: &ServerTrust, fault: Option<CertificateFault>) -> String {
    match (fault, trust) {
        (Some(CertificateFault::UnknownIssuer), ServerTrust::System) => {
            "the server has a door CA of its own: name it by LANYARD_SERVER_CA (door-ca.pem of its data folder), or \
             LANYARD_SERVER_CA_SHA256 (its log's server_ca_sha256)"
                .to_owned()
        }
        (Some(CertificateFault::UnknownIssuer), _) => {
            "the CA that is named here is not the server's: was its data folder made anew, or does something answer in \
             its place?"
                .to_owned()
        }
        (Some(CertificateFault::OtherName), _) => {
            format!(
                "its certificate is not for {url}: add the name to tls.names of server.toml, or use one that is there"
            )
        }
        (Some(CertificateFault::Dates), _) => {
            "its certificate is over, or not yet good: look at this machine's clock first, then at cert_file".to_owned()
        }
        (None, _) => {
            "is this the issuer port of a server? It speaks TLS 1.3, and no proxy may end TLS before it".to_owned()
        }
    }
}

fn is_ours(url: &ServerUrl, answer: &Response<Bytes>) -> Result<Finding, Finding> {
    let document: Option<serde_json::Value> = serde_json::from_slice(answer.body()).ok();
    if answer.status().is_success() && document.is_some_and(|document| document.get("keys").is_some()) {
        return Ok(Finding::good("server answer", "it gives its trust bundle"));
    }
    let found = format!("{url}{PAGE} answers {} and no trust bundle", answer.status());
    Err(Finding::wrong(
        "server answer",
        found,
        "LANYARD_SERVER names something else: it must be the issuer port, without a path",
    ))
}

fn same_time(answer: &Response<Bytes>, now: OffsetDateTime) -> Result<Finding, Finding> {
    let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
    let theirs = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
    let Some(theirs) = theirs else { return Ok(Finding::good("clock", "the server does not tell its time")) };
    let apart = now - theirs;
    if apart.abs() <= CLOCKS_APART_MAX {
        return Ok(Finding::good("clock", "this machine and the server agree"));
    }
    let (seconds, side) =
        (apart.whole_seconds().unsigned_abs(), if apart.is_positive() { "ahead of" } else { "behind" });
    let found = format!("this machine is {seconds} s {side} the server");
    Err(Finding::wrong(
        "clock",
        found,
        "set the clock by NTP, on whichever is wrong: certificates and tokens live by it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_are_told_with_their_side() {
        let at = |date: &str| Response::builder().header("date", date).body(Bytes::new()).unwrap();
        let now = time::macros::datetime!(2026-11-21 10:00:40 UTC);
        assert!(same_time(&at("Sat, 21 Nov 2026 10:00:20 GMT"), now).is_ok());
        assert!(same_time(&at("yesterday"), now).is_ok());
        let told = |date| format!("{:?}", same_time(&at(date), now).unwrap_err());
        assert!(told("Sat, 21 Nov 2026 10:00:00 GMT").contains("40 s ahead of the server"));
        assert!(told("Sat, 21 Nov 2026 11:00:40 GMT").contains("3600 s behind the server"));
    }

    #[test]
    fn every_fault_of_a_certificate_has_a_remedy_of_its_own() {
        let url = "https://lanyard.example".parse().unwrap();
        let pem = ServerTrust::Pem(Vec::new());
        let faults = [
            Some(CertificateFault::UnknownIssuer),
            Some(CertificateFault::OtherName),
            Some(CertificateFault::Dates),
            None,
        ];
        let mut all: Vec<_> = faults.into_iter().map(|fault| distrusted(&url, &pem, fault)).collect();
        all.push(distrusted(&url, &ServerTrust::System, Some(CertificateFault::UnknownIssuer)));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 5);
    }
}
