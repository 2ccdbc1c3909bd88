//! Whose PROXY headers count: the balancers that an operator has named, by address or network.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// Balancers, each of whose connections begins with an [`Introduction`](super::Introduction).
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<[Network]>);

/// An address, or a network as `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// The text names no network of balancers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotANetwork {
    /// Anybody could say to be anybody.
    #[error("everybody; whoever is named here says whose connection it brings")]
    Everybody,
    /// No address, or no length of its prefix.
    #[error("no address and no network")]
    Malformed,
    /// It names a host and a network.
    #[error("bits are set behind the prefix")]
    Stray,
}

impl Proxies {
    /// Whether a connection from there begins with a header.
    pub fn include(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(peer))
    }
}

impl FromIterator<Network> for Proxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(u32::BITS - self.prefix).unwrap_or_default() == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(u128::BITS - self.prefix).unwrap_or_default() == 0
            }
            _ => false,
        }
    }

    /// The address, from the first bit of 128 on.
    fn leading_bits(self) -> u128 {
        match self.address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << (u128::BITS - u32::BITS),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    /// Bits of the address behind the prefix.
    fn strays(self) -> bool {
        match self.address {
            IpAddr::V4(v4) => v4.to_bits().checked_shl(self.prefix).unwrap_or_default() != 0,
            IpAddr::V6(v6) => v6.to_bits().checked_shl(self.prefix).unwrap_or_default() != 0,
        }
    }
}

/// Whether all addresses of IPv4, or all of IPv6, are in one of these.
pub fn are_everybody(networks: &[Network]) -> bool {
    let starts = |is_ours: fn(&IpAddr) -> bool| {
        let ours = networks.iter().filter(|network| is_ours(&network.address));
        ours.map(|network| (network.leading_bits(), network.prefix)).collect::<Vec<_>>()
    };
    covers_all(&starts(IpAddr::is_ipv4)) || covers_all(&starts(IpAddr::is_ipv6))
}

/// By their first bits and how many of them count: as if one walked through all addresses in order.
fn covers_all(networks: &[(u128, u32)]) -> bool {
    let mut sorted = networks.to_vec();
    sorted.sort_unstable();
    let mut next = 0_u128;
    for (start, prefix) in sorted {
        if start > next {
            return false;
        }
        // No network is everybody by itself, so there is a bit to shift.
        let end = start.checked_add(1_u128.checked_shl(u128::BITS - prefix).unwrap_or(1));
        match end {
            Some(end) => next = next.max(end),
            None => return true,
        }
    }
    false
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_malformed| NotANetwork::Malformed)?;
        // A peer of IPv4 is one of IPv4, also where the port listens on IPv6.
        if address.to_canonical() != address {
            return Err(NotANetwork::Malformed);
        }
        let longest = if address.is_ipv4() { u32::BITS } else { u128::BITS };
        let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_malformed| NotANetwork::Malformed)?;
        let network = Self { address, prefix };
        match prefix {
            0 => Err(NotANetwork::Everybody),
            _ if prefix > longest => Err(NotANetwork::Malformed),
            _ if network.strays() => Err(NotANetwork::Stray),
            _ => Ok(network),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.0.0/16", "::ffff:10.1.0.1", "::ffff:10.2.0.1"),
            ("128.0.0.0/1", "255.0.0.1", "127.0.0.1"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("2001:db8::1", "2001:db8::1", "10.0.0.7"),
        ] {
            let proxies: Proxies = std::iter::once(network.parse().unwrap()).collect();
            assert!(proxies.include(inside.parse().unwrap()), "{network} {inside}");
            assert!(!proxies.include(outside.parse().unwrap()), "{network} {outside}");
        }
        assert!(!Proxies::default().include("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn everybody_is_everybody_also_by_parts() {
        for (networks, all) in [
            (&["0.0.0.0/1", "128.0.0.0/1"][..], true),
            (&["128.0.0.0/2", "192.0.0.0/2", "0.0.0.0/1", "10.0.0.0/8"], true),
            (&["::/1", "8000::/1"], true),
            (&["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"], false),
            (&["0.0.0.0/1", "8000::/1"], false),
            (&["128.0.0.0/1"], false),
            (&["255.255.255.255"], false),
            (&["::/1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], false),
            (&[], false),
        ] {
            let networks: Vec<Network> = networks.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(are_everybody(&networks), all, "{networks:?}");
        }
    }

    #[test]
    fn what_names_everybody_or_nobody_is_no_network() {
        for (text, wrong) in [
            ("0.0.0.0/0", NotANetwork::Everybody),
            ("::/0", NotANetwork::Everybody),
            ("10.1.2.3/16", NotANetwork::Stray),
            ("2001:db8::1/64", NotANetwork::Stray),
            ("10.1.0.0/33", NotANetwork::Malformed),
            ("10.1.0.0/", NotANetwork::Malformed),
            ("::ffff:10.0.0.1", NotANetwork::Malformed),
            ("lb.corp.example", NotANetwork::Malformed),
            ("", NotANetwork::Malformed),
        ] {
            assert_eq!(text.parse::<Network>(), Err(wrong), "{text}");
        }
    }
}
