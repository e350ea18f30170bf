//! Which of the machine's own addresses are candidates.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use rtc::shared::ifaces::{Interface, ifaces};
use url::Host;

/// Bridges and cables between a machine and its own containers and virtual machines: no peer is behind them.
const VIRTUAL: [&str; 6] = ["docker*", "br-*", "veth*", "virbr*", "lxc*", "l4tbr*"];

/// An interface's name, or the beginning of several and a `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfacePattern(String);

impl InterfacePattern {
    /// A pattern, or `None` when it is empty, holds white space or a slash, or a `*` anywhere but at its end.
    pub fn new(text: &str) -> Option<Self> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let fits = !text.is_empty() && !name.contains(|c: char| c == '*' || c == '/' || c.is_whitespace());
        fits.then(|| Self(text.to_owned()))
    }

    fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.0,
        }
    }
}

impl Display for InterfacePattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose addresses are candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFilter {
    /// Only these; when empty, all.
    pub include: Vec<InterfacePattern>,
    /// None of these, even when included.
    pub exclude: Vec<InterfacePattern>,
}

impl Default for InterfaceFilter {
    /// All but the bridges of containers and virtual machines.
    fn default() -> Self {
        let pattern = |text: &str| InterfacePattern(text.to_owned());
        Self { include: Vec::new(), exclude: VIRTUAL.map(pattern).to_vec() }
    }
}

impl InterfaceFilter {
    /// Whether this interface's addresses are candidates.
    pub fn admits(&self, name: &str) -> bool {
        let matches = |patterns: &[InterfacePattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.include.is_empty() || matches(&self.include)) && !matches(&self.exclude)
    }
}

/// The local addresses of a peer connection. The crate asks for them again at each ICE restart, so that one follows the
/// machine from Wi-Fi to LTE.
#[derive(Clone, Debug)]
pub(crate) struct LocalAddresses {
    scope: Scope,
}

#[derive(Clone, Debug)]
enum Scope {
    Loopback,
    Interfaces(InterfaceFilter),
}

impl LocalAddresses {
    /// The addresses to reach a server by: loopback for a server on this machine, else the interfaces'.
    pub(crate) fn towards(server: Option<Host<&str>>, filter: &InterfaceFilter) -> Self {
        let loopback = match server {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        let scope = if loopback { Scope::Loopback } else { Scope::Interfaces(filter.clone()) };
        Self { scope }
    }

    /// Whether they are those of this machine's own loopback.
    pub(super) fn are_loopback(&self) -> bool {
        matches!(self.scope, Scope::Loopback)
    }

    /// The addresses of now.
    pub(super) fn usable(&self) -> io::Result<Vec<IpAddr>> {
        match &self.scope {
            Scope::Loopback => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            Scope::Interfaces(filter) => Ok(usable(&ifaces()?, filter)),
        }
    }
}

impl ToSocketAddrs for LocalAddresses {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let addresses = self.usable()?;
        if addresses.is_empty() {
            tracing::warn!("no interface that ice.include_interfaces and ice.exclude_interfaces admit has an address");
        }
        let sockets: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        Ok(sockets.into_iter())
    }
}

/// The addresses a peer may reach us at. Link-local IPv4 ones only when there are no others (a car and a laptop on one
/// cable); link-local IPv6 ones never, because a candidate cannot carry their scope.
fn usable(interfaces: &[Interface], filter: &InterfaceFilter) -> Vec<IpAddr> {
    let (mut routable, mut link_local) = (Vec::new(), Vec::new());
    for interface in interfaces.iter().filter(|interface| filter.admits(&interface.name)) {
        let Some(ip) = interface.addr.map(|address| address.ip()) else { continue };
        let addresses = match ip {
            _ if ip.is_loopback() || ip.is_unspecified() => continue,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => continue,
            IpAddr::V4(ip) if ip.is_link_local() => &mut link_local,
            _ => &mut routable,
        };
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    if routable.is_empty() { link_local } else { routable }
}

#[cfg(test)]
mod tests {
    use rtc::shared::ifaces::Kind;

    use super::*;

    fn interface(name: &str, ip: &str) -> Interface {
        let addr = Some(SocketAddr::new(ip.parse().expect("an address"), 0));
        Interface { name: name.to_owned(), kind: Kind::Ipv4, addr, mask: None, hop: None }
    }

    fn patterns(texts: &[&str]) -> Vec<InterfacePattern> {
        texts.iter().map(|text| InterfacePattern::new(text).expect("a pattern")).collect()
    }

    #[test]
    fn a_pattern_is_a_name_or_the_beginning_of_one() {
        for good in ["eth0", "wlan*", "*", "br-1a2b"] {
            assert!(InterfacePattern::new(good).is_some(), "{good}");
        }
        for bad in ["", "eth 0", "*0", "e*0", "a/b", "**"] {
            assert!(InterfacePattern::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn exclusion_is_stronger_than_inclusion() {
        let cases: [(&[&str], &[&str], &[&str]); 5] = [
            (&[], &[], &["docker0", "eth0", "usb0", "wwan0"]),
            (&[], &["docker0", "usb*"], &["eth0", "wwan0"]),
            (&["eth0", "wwan*"], &[], &["eth0", "wwan0"]),
            (&["*"], &["eth0"], &["docker0", "usb0", "wwan0"]),
            (&["eth0"], &["eth*"], &[]),
        ];
        for (include, exclude, admitted) in cases {
            let filter = InterfaceFilter { include: patterns(include), exclude: patterns(exclude) };
            let names = ["docker0", "eth0", "usb0", "wwan0"];
            let left: Vec<_> = names.into_iter().filter(|name| filter.admits(name)).collect();
            assert_eq!(left, admitted, "{include:?} {exclude:?}");
        }
        assert!(!InterfaceFilter::default().admits("docker0"), "containers are left out unless asked for");
    }

    #[test]
    fn only_addresses_a_peer_can_reach_are_used() {
        let interfaces = [
            interface("lo", "127.0.0.1"),
            interface("lo", "::1"),
            interface("eth0", "192.168.1.7"),
            interface("eth0", "192.168.1.7"),
            interface("eth0", "fe80::1"),
            interface("eth0", "2001:db8::7"),
            interface("eth1", "169.254.3.4"),
            interface("docker0", "172.17.0.1"),
        ];
        let filter = InterfaceFilter::default();
        let expected: [IpAddr; 2] = ["192.168.1.7".parse().expect("v4"), "2001:db8::7".parse().expect("v6")];
        assert_eq!(usable(&interfaces, &filter), expected);
        let cable = ["169.254.3.4".parse::<IpAddr>().expect("v4")];
        assert_eq!(usable(&interfaces[6..], &filter), cable, "one cable and nothing else");
    }

    #[test]
    fn a_server_on_this_machine_is_reached_over_loopback() {
        let filter = InterfaceFilter::default();
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let host = Host::parse(host).expect("a host");
            let host = match &host {
                Host::Domain(name) => Host::Domain(name.as_str()),
                Host::Ipv4(ip) => Host::Ipv4(*ip),
                Host::Ipv6(ip) => Host::Ipv6(*ip),
            };
            let addresses: Vec<_> =
                LocalAddresses::towards(Some(host), &filter).to_socket_addrs().expect("addresses").collect();
            assert!(addresses.iter().all(|address| address.ip().is_loopback()), "{addresses:?}");
        }
    }
}
