//! Our sockets and a real TURN server.

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rtc::turn::client::Event;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Runtime, Transmit};

use super::client::{TurnClient, TurnError, refused};
use crate::rtc::congestion::meter::LinkMeter;
use crate::rtc::driver::runtime::PeerRuntime;
use crate::rtc::ice::servers::{IceServers, Purpose, Relay};
use crate::rtc::settings::{IceServer, ServerAddress, TurnServer, TurnTransport};
use coturn::{Coturn, Settings, static_credential};

#[path = "../../../tests/coturn/mod.rs"]
mod coturn;

const PATIENCE: Duration = Duration::from_secs(20);

fn crypto() -> Arc<dyn rtc::crypto::RTCCryptoProvider> {
    rtc::crypto::default_provider().expect("ring")
}

/// A client on a socket of ours, and what the socket reports as lost.
async fn client(server: IceServer) -> (TurnClient, Arc<Mutex<Vec<String>>>) {
    let (socket, server, relay, lost) = socket(server).await;
    (TurnClient::new(socket, server, relay.credential, crypto()).expect("a client"), lost)
}

/// A socket of ours, where the crate sends what is for the server, the server, and what is reported as lost.
async fn socket(server: IceServer) -> (Arc<dyn AsyncUdpSocket>, SocketAddr, Relay, Arc<Mutex<Vec<String>>>) {
    let servers = Arc::new(IceServers::new(&[server], Purpose::Sessions, Arc::default()));
    let snapshot = Arc::new(servers.snapshot().await);
    let relay: Relay = snapshot.relays().next().expect("a TURN server").clone();
    let lost = Arc::new(Mutex::new(Vec::new()));
    let told = lost.clone();
    let on_lost = Arc::new(move |reason: &str| told.lock().expect("whole").push(reason.to_owned()));
    let runtime = PeerRuntime::new(servers, snapshot, crypto(), on_lost, Arc::new(LinkMeter::of(1)));
    let socket = runtime.wrap_udp_socket(UdpSocket::bind("127.0.0.1:0").expect("a port")).expect("a socket");
    let local = socket.local_addr().expect("bound");
    let server = relay.destination(local).expect("the same family");
    (socket, server, relay, lost)
}

/// Asks that a peer may be heard through the allocation.
async fn permit(client: &mut TurnClient, allocation: SocketAddr, peer: SocketAddr) -> Result<(), TurnError> {
    #[expect(clippy::disallowed_methods, reason = "the library wants to know")]
    let now = std::time::Instant::now();
    let mut relay = client.client.relay(allocation).map_err(refused)?;
    let transaction = relay.create_permission(now, peer).map_err(refused)?;
    client
        .wait(PATIENCE, |event| match event {
            Event::CreatePermissionResponse(of, _) if Some(of) == transaction => Some(Ok(())),
            Event::CreatePermissionError(of, error) if Some(of) == transaction => Some(Err(refused(error))),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_nonce_that_has_gone_stale_costs_a_repetition_and_nothing_else() {
    let coturn = Coturn::start_with(&Settings { extra: "stale-nonce=1\n".into(), ..Settings::default() });
    for server in [coturn.udp(), coturn.tcp(), coturn.tls()] {
        let (mut client, _) = client(server).await;
        let allocation = client.allocate(PATIENCE).await.expect("an allocation");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let peer: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        permit(&mut client, allocation, peer).await.expect("a permission, with a new nonce");
        client.release(allocation).await.expect("sent");
    }
}

#[tokio::test]
async fn an_allocation_is_had_by_each_transport_and_the_way_is_measured() {
    let coturn = Coturn::start();
    for server in [coturn.udp(), coturn.tcp(), coturn.tls()] {
        let (mut client, lost) = client(server).await;
        let allocation = client.allocate(PATIENCE).await.expect("an allocation");
        assert!(allocation.ip().is_loopback() && allocation.port() != 0);
        let (mapped, round_trip) = client.binding(PATIENCE).await.expect("an answer");
        assert!(mapped.ip().is_loopback() && round_trip < PATIENCE);
        client.release(allocation).await.expect("sent");
        assert!(lost.lock().expect("whole").is_empty());
    }
}

#[tokio::test]
async fn a_datagram_that_cannot_be_sent_costs_an_allocation_by_udp_nothing_once_there_is_one() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = server.local_addr().expect("bound").port();
    let address = ServerAddress { host: url::Host::Ipv4(Ipv4Addr::LOCALHOST), port };
    let turn = TurnServer { address, transport: TurnTransport::Udp, credential: static_credential() };
    let (socket, destination, ..) = socket(IceServer::Turn(turn)).await;
    // More than a datagram may hold (EMSGSIZE).
    let contents = vec![0; 70_000];
    let too_long = Transmit { destination, ecn: None, contents: &contents, segment_size: None, src_ip: None };
    let refused = poll_fn(|cx| socket.poll_send(cx, &too_long)).await;
    assert!(refused.is_err(), "the crate must not wait for the allocation");

    // The head of an answer that grants one.
    let granted = [&[1, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[0; 12]].concat();
    server.send_to(&granted, socket.local_addr().expect("bound")).expect("sent");
    let (mut buffer, mut meta) = ([0; 1500], [RecvMeta::default()]);
    let received = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
    tokio::time::timeout(PATIENCE, received).await.expect("it comes").expect("read");
    let lost = poll_fn(|cx| socket.poll_send(cx, &too_long)).await;
    assert_eq!(lost.ok(), Some(contents.len()), "lost on the way, as far as the crate knows");
}
