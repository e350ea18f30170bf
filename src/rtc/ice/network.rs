//! Tells when this machine is on another network: Wi-Fi to LTE, a new address, another default route.
//!
//! The kernel says only *that* something has changed (rtnetlink(7)); what is now is looked up afresh and compared. So
//! no message of it is parsed, and none that was lost in a full buffer is missed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::interfaces::LocalAddresses;

/// Groups of rtnetlink: addresses and routes of both families (`RTMGRP_*` in linux/rtnetlink.h).
const GROUPS: u32 = IPV4_ADDRESS | IPV4_ROUTE | IPV6_ADDRESS | IPV6_ROUTE;
const IPV4_ADDRESS: u32 = 0x10;
const IPV4_ROUTE: u32 = 0x40;
const IPV6_ADDRESS: u32 = 0x100;
const IPV6_ROUTE: u32 = 0x400;
/// An address, its route and the default route come one after the other.
const SETTLED_AFTER: Duration = Duration::from_millis(200);
/// Somewhere far away, to ask which way leads there: addresses for documentation (RFC 5737, RFC 3849). Nothing is sent.
const FAR_AWAY: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9),
];

/// The network this machine is on. Addresses stand for the links they are on: those of IPv6 change every day for privacy
/// (RFC 8981), while the link with its /64 stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    /// Own addresses that a peer may reach.
    addresses: Vec<IpAddr>,
    /// The own address that the default route of each family leaves by.
    outbound: [Option<IpAddr>; 2],
}

impl Network {
    fn of(addresses: &LocalAddresses) -> io::Result<Self> {
        let addresses = addresses.usable()?.into_iter().map(link_of).collect();
        Ok(Self { addresses, outbound: FAR_AWAY.map(|far| source_towards(far).map(link_of)) })
    }

    /// Whether what ran over this network must find another way over that one. An address that comes on top changes
    /// nothing; and with no network at all there is nothing to find.
    fn is_left_for(&self, now: &Self) -> bool {
        let lost = self.addresses.iter().any(|address| !now.addresses.contains(address));
        !now.addresses.is_empty() && (self.addresses.is_empty() || lost || self.outbound != now.outbound)
    }
}

/// Whether what runs from `local` to `peer` still has its way: packets to there leave on that link.
pub(crate) fn still_leads(local: IpAddr, peer: SocketAddr) -> bool {
    source_towards(peer).map(link_of) == Some(link_of(local))
}

fn link_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The own address that packets to `peer` leave by, when there is a way.
fn source_towards(peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Of a datagram socket this only looks up the route.
    socket.connect(peer).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Watches the network.
#[derive(Debug)]
pub(crate) struct NetworkWatch {
    kernel: AsyncFd<OwnedFd>,
    addresses: LocalAddresses,
    known: Network,
    /// Something has changed; what, is looked up then.
    look_at: Option<Instant>,
}

impl NetworkWatch {
    /// Watches for changes from the network of now. `None` when only this machine itself is of interest.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn new(addresses: LocalAddresses) -> io::Result<Option<Self>> {
        if addresses.are_loopback() {
            return Ok(None);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0 is NETLINK_ROUTE.
        let kernel = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&kernel, &SocketAddrNetlink::new(0, GROUPS))?;
        let known = Network::of(&addresses)?;
        #[expect(deprecated, reason = "unsound for types that let go of their descriptor; this one owns it")]
        let kernel = AsyncFd::with_interest(kernel, Interest::READABLE)?;
        Ok(Some(Self { kernel, addresses, known, look_at: None }))
    }

    /// Waits until this machine is on another network. Cancel safe.
    ///
    /// # Errors
    /// Those of the kernel; there is nothing to be watched any more then.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let Some(at) = self.look_at else {
                self.kernel.readable().await?.clear_ready();
                drain(self.kernel.get_ref())?;
                self.look_at = Some(now() + SETTLED_AFTER);
                continue;
            };
            tokio::time::sleep_until(at.into()).await;
            self.look_at = None;
            drain(self.kernel.get_ref())?;
            let network = Network::of(&self.addresses)?;
            let left = self.known.is_left_for(&network);
            // What ran before there was no network is what has to find a way when there is one again.
            if !network.addresses.is_empty() {
                self.known = network;
            }
            if left {
                return Ok(());
            }
        }
    }
}

fn drain(kernel: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0_u8; 8192];
    loop {
        match recv(kernel, &mut buffer, RecvFlags::TRUNC) {
            // NOBUFS: some were lost, and others follow.
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of a pure comparison")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(addresses: &[&str], outbound: Option<&str>) -> Network {
        let parsed = |text: &&str| link_of(text.parse().expect("an address"));
        Network { addresses: addresses.iter().map(parsed).collect(), outbound: [outbound.as_ref().map(parsed), None] }
    }

    #[test]
    fn only_what_takes_the_way_from_a_session_is_a_new_network() {
        let (wifi, lte) = ("192.168.1.7", "10.0.0.3");
        let on_wifi = network(&[wifi], Some(wifi));
        let cases = [
            ("nothing", network(&[wifi], Some(wifi)), false),
            ("one more address", network(&[wifi, "2001:db8::7"], Some(wifi)), false),
            ("the other way is preferred", network(&[wifi, lte], Some(lte)), true),
            ("another address", network(&["192.168.1.8"], Some("192.168.1.8")), true),
            ("no way out any more", network(&[wifi], None), true),
            ("no network at all", network(&[], None), false),
        ];
        for (what, now, left) in cases {
            assert_eq!(on_wifi.is_left_for(&now), left, "{what}");
        }
        assert!(Network::default().is_left_for(&on_wifi), "the first network there is");
    }

    #[test]
    fn another_address_on_the_same_link_of_ipv6_is_no_other_network() {
        let before = network(&["2001:db8::1:2:3:4"], Some("2001:db8::1:2:3:4"));
        let cases = [("2001:db8::5:6:7:8", false), ("2001:db8:0:1::1", true)];
        for (address, left) in cases {
            assert_eq!(before.is_left_for(&network(&[address], Some(address))), left, "{address}");
        }
    }

    #[test]
    fn the_way_to_oneself_is_the_loopback() {
        let (here, elsewhere) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 7).into());
        let peer = SocketAddr::new(here, 9);
        assert!(still_leads(here, peer) && !still_leads(elsewhere, peer));
    }

    #[tokio::test]
    async fn a_machine_that_is_its_own_server_has_nothing_to_watch() {
        let addresses = LocalAddresses::towards(Some(url::Host::Ipv4(Ipv4Addr::LOCALHOST)), &Default::default());
        assert!(NetworkWatch::new(addresses).expect("nothing to open").is_none());
    }
}
