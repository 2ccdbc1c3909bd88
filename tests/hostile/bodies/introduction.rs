//! A PROXY header, and whatever follows: it ends where it ends, however it comes, and says no more than the protocol does.

use super::Seed;
use super::law::{Cost, can_be_shown};
use lanyard::wire::Introduction;
use std::net::IpAddr;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Both versions, as balancers send them, and what they send for themselves.
pub fn seeds() -> Vec<Seed> {
    let version_2 = |rest: &[u8]| [SIGNATURE, rest].concat();
    vec![
        Seed::new("line-4", &b"PROXY TCP4 192.0.2.7 10.0.0.1 258 443\r\n\x16\x03\x01"[..]),
        Seed::new("line-6", &b"PROXY TCP6 2001:db8::1 2001:db8::2 258 443\r\n"[..]),
        Seed::new("unknown", &b"PROXY UNKNOWN\r\n\x16\x03\x01"[..]),
        Seed::new("bytes-4", version_2(b"\x21\x11\x00\x0c\xc0\x00\x02\x07\x0a\x00\x00\x01\x01\x02\x01\xbb")),
        Seed::new(
            "bytes-4-more",
            version_2(b"\x21\x11\x00\x10\xc0\x00\x02\x07\x0a\x00\x00\x01\x01\x02\x01\xbb\x04\x00\x01\x00"),
        ),
        Seed::new("bytes-6", version_2(&[&b"\x21\x21\x00\x24"[..], &[0x20; 36]].concat())),
        Seed::new("local", version_2(b"\x20\x00\x00\x00\x16\x03\x01")),
        Seed::new("path", version_2(&[&b"\x21\x31\x00\xd8"[..], &[b'/'; 216]].concat())),
    ]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let found = Cost::SMALL.of(bytes.len(), || Introduction::parse(bytes));
    match &found {
        Ok(Some(header)) => ends_where_it_ends(*header, bytes),
        Ok(None) => {}
        Err(error) => can_be_shown(error),
    }
    matches!(found, Ok(Some(_)))
}

fn ends_where_it_ends(header: Introduction, bytes: &[u8]) {
    let ours = &bytes[..header.bytes];
    assert_eq!(Introduction::parse(ours).unwrap(), Some(header), "what follows says nothing");
    let sooner = (0..ours.len()).find(|short| !matches!(Introduction::parse(&ours[..*short]), Ok(None)));
    assert_eq!(sooner, None, "it is asked for until it is whole");
    assert_eq!(header.client, if ours.starts_with(b"P") { of_line(ours) } else { of_bytes(ours) });
}

/// Read again, by other means.
fn of_line(line: &[u8]) -> Option<IpAddr> {
    assert!(line.len() <= 107 && line.ends_with(b"\r\n"));
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.trim_end_matches("\r\n").split(' ').collect();
    assert_eq!(words[0], "PROXY");
    if words[1].starts_with("UNKNOWN") {
        return None;
    }
    let address: IpAddr = words[2].parse().unwrap();
    assert_eq!((words.len(), words[1]), (6, if address.is_ipv4() { "TCP4" } else { "TCP6" }));
    Some(address.to_canonical())
}

fn of_bytes(bytes: &[u8]) -> Option<IpAddr> {
    assert!(bytes.starts_with(SIGNATURE) && bytes.len() == 16 + usize::from(bytes[14]) * 256 + usize::from(bytes[15]));
    let address = match (bytes[12], bytes[13]) {
        (0x21, 0x11) => IpAddr::from(<[u8; 4]>::try_from(&bytes[16..20]).unwrap()),
        (0x21, 0x21) => IpAddr::from(<[u8; 16]>::try_from(&bytes[16..32]).unwrap()),
        _ => return None,
    };
    Some(address.to_canonical())
}
