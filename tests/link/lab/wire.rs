//! A long wire of datagrams: what goes in at one end comes out at the other some time later, and not all of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Datagrams under way in one direction. Full: what comes then is lost, as in a router.
const UNDER_WAY: usize = 4096;

/// Gone when dropped.
pub struct Wire {
    /// What is sent to here comes out at the wire's other end.
    pub address: SocketAddr,
    _carriers: JoinSet<()>,
}

impl Wire {
    /// A wire to `far` that takes `delay` each way. Of what goes there each `lose_every`-th datagram is lost.
    pub async fn lay(far: SocketAddr, delay: Duration, lose_every: Option<u64>) -> Self {
        let front = Arc::new(bind(far).await);
        let address = front.local_addr().expect("bound");
        let mut carriers = JoinSet::new();
        carriers.spawn(accept(front, far, delay, lose_every));
        Self { address, _carriers: carriers }
    }
}

async fn bind(beside: SocketAddr) -> UdpSocket {
    UdpSocket::bind((beside.ip(), 0)).await.expect("a port")
}

/// Each sender at the near end has a socket of its own at the far end, as behind a NAT.
async fn accept(front: Arc<UdpSocket>, far: SocketAddr, delay: Duration, lose_every: Option<u64>) {
    let mut senders = HashMap::<SocketAddr, mpsc::Sender<Parcel>>::new();
    let mut carriers = JoinSet::new();
    let mut datagram = vec![0; 2048];
    let mut seen = 0_u64;
    loop {
        let (length, near) = front.recv_from(&mut datagram).await.expect("it is ours");
        let sender = match senders.get(&near) {
            Some(sender) => sender,
            None => {
                let back = Arc::new(bind(far).await);
                let (there, parcels) = mpsc::channel(UNDER_WAY);
                carriers.spawn(deliver(parcels, back.clone(), far));
                let (here, parcels) = mpsc::channel(UNDER_WAY);
                carriers.spawn(deliver(parcels, front.clone(), near));
                carriers.spawn(collect(back, here, delay));
                senders.entry(near).or_insert(there)
            }
        };
        seen += 1;
        if lose_every.is_none_or(|every| !seen.is_multiple_of(every)) {
            let _ = sender.try_send((Instant::now() + delay, datagram[..length].to_vec()));
        }
    }
}

/// A datagram, and when it arrives.
type Parcel = (Instant, Vec<u8>);

async fn collect(from: Arc<UdpSocket>, parcels: mpsc::Sender<Parcel>, delay: Duration) {
    let mut datagram = vec![0; 2048];
    // An error is that of a datagram sent before: nobody listens there any more.
    loop {
        if let Ok(length) = from.recv(&mut datagram).await {
            let _ = parcels.try_send((Instant::now() + delay, datagram[..length].to_vec()));
        }
    }
}

async fn deliver(mut parcels: mpsc::Receiver<Parcel>, from: Arc<UdpSocket>, to: SocketAddr) {
    while let Some((at, datagram)) = parcels.recv().await {
        tokio::time::sleep_until(at).await;
        let _ = from.send_to(&datagram, to).await;
    }
}

/// An answer's candidates as this wire has them: one, at its near end.
pub fn at_the_wire(sdp: &str, wire: SocketAddr) -> String {
    let candidate = format!("a=candidate:1 1 udp 2113937151 {} {} typ host", wire.ip(), wire.port());
    let mut lines: Vec<&str> = Vec::new();
    let mut placed = false;
    for line in sdp.lines().map(str::trim_end) {
        match line.starts_with("a=candidate:") {
            true if placed => {}
            true => lines.push(&candidate),
            false => lines.push(line),
        }
        placed |= line.starts_with("a=candidate:");
    }
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

/// Where an answer's first IPv4 or hidden UDP candidate listens: its port.
pub fn port_of(sdp: &str) -> u16 {
    let is_udp = |words: &Vec<&str>| words.len() > 5 && words[2].eq_ignore_ascii_case("udp") && !words[4].contains(':');
    let candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    let mut udp = candidates.map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(is_udp);
    udp.next().expect("a candidate").get(5).and_then(|port| port.parse().ok()).expect("with its port")
}
