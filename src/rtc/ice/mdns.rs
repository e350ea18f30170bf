//! Resolving the names that peers on the same network hide their addresses behind (RFC 6762,
//! draft-ietf-mmusic-mdns-ice-candidates).
//!
//! The crate could do it, but its socket is bound for the life of each peer connection, and one that cannot be bound
//! (no multicast, port 5353 taken) fails the connection. Here a socket exists while a name is being resolved.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::mdns::{MDNS_PORT, Mdns, MdnsConfig, MdnsEvent, MulticastSocket};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use tokio::net::UdpSocket;

/// A peer on the same network answers within milliseconds; one that is not never does.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer (RFC 6762 §17).
const MAX_PACKET_BYTES: usize = 9000;

/// The address a `.local` name stands for.
///
/// # Errors
/// When nobody on the network answers to it, or multicast does not work.
pub(crate) async fn resolve(name: &str) -> io::Result<IpAddr> {
    let socket = UdpSocket::from_std(MulticastSocket::new().into_std()?)?;
    let silence = |_| io::Error::new(io::ErrorKind::TimedOut, "nobody on this network answers to that name");
    tokio::time::timeout(PATIENCE, ask(&socket, name)).await.map_err(silence)?
}

async fn ask(socket: &UdpSocket, name: &str) -> io::Result<IpAddr> {
    let mut mdns = Mdns::new(now(), MdnsConfig::default());
    let query = mdns.query_now(now(), name);
    let local_addr = socket.local_addr()?;
    let mut packet = vec![0; MAX_PACKET_BYTES];
    loop {
        while let Some(question) = mdns.poll_write() {
            socket.send_to(&question.message, question.transport.peer_addr).await?;
        }
        let again = mdns.poll_timeout().unwrap_or_else(|| now() + PATIENCE);
        tokio::select! {
            received = socket.recv_from(&mut packet) => {
                let (length, peer_addr) = received?;
                // What cannot be read is somebody else's: the port is shared by the whole network.
                let _ = mdns.handle_read(tagged(local_addr, peer_addr, &packet[..length]));
            }
            () = tokio::time::sleep_until(again.into()) => {
                mdns.handle_timeout(now()).map_err(io::Error::other)?;
            }
        }
        while let Some(event) = mdns.poll_event() {
            if let MdnsEvent::QueryAnswered(answered, ip) = event
                && answered == query
            {
                return Ok(ip);
            }
        }
    }
}

fn tagged(local_addr: SocketAddr, peer_addr: SocketAddr, packet: &[u8]) -> TaggedBytesMut {
    debug_assert!(local_addr.port() == MDNS_PORT, "the port of the protocol");
    TaggedBytesMut {
        now: now(),
        transport: TransportContext { local_addr, peer_addr, ecn: None, transport_protocol: TransportProtocol::UDP },
        message: BytesMut::from(packet),
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of a sans-I/O protocol")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers to one name, as a browser on the same network does.
    async fn answer_to(name: &str, ip: IpAddr) -> io::Result<()> {
        let socket = UdpSocket::from_std(MulticastSocket::new().into_std()?)?;
        let config = MdnsConfig::default().with_local_names(vec![name.to_owned()]).with_local_ip(ip);
        let mut mdns = Mdns::new(now(), config);
        let local_addr = socket.local_addr()?;
        let mut packet = vec![0; MAX_PACKET_BYTES];
        loop {
            let (length, peer_addr) = socket.recv_from(&mut packet).await?;
            let _ = mdns.handle_read(tagged(local_addr, peer_addr, &packet[..length]));
            while let Some(answer) = mdns.poll_write() {
                socket.send_to(&answer.message, answer.transport.peer_addr).await?;
            }
        }
    }

    #[tokio::test]
    async fn a_name_on_this_network_is_resolved_and_one_that_is_not_is_given_up() {
        let ip: IpAddr = "192.0.2.77".parse().expect("an address");
        let name = format!("{:032x}.local", rand::random::<u128>());
        tokio::select! {
            resolved = resolve(&name) => assert_eq!(resolved.expect("an answer"), ip),
            failed = answer_to(&name, ip) => panic!("multicast must work where this runs: {failed:?}"),
        }
        let nobody = format!("{:032x}.local", rand::random::<u128>());
        assert_eq!(resolve(&nobody).await.expect_err("silence").kind(), io::ErrorKind::TimedOut);
    }
}
