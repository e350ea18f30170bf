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

/// What of the datagrams is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    None,
    /// Of what goes to the far end each so many-th.
    Each(u64),
    /// Of the DTLS handshake's datagrams that go one way the one with this number, counted from 0.
    OfHandshake(Towards, usize),
}

/// An end of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    Near,
    Far,
}

/// Counts what goes one way.
struct Counted {
    loss: Loss,
    towards: Towards,
    seen: u64,
    of_handshake: usize,
}

impl Counted {
    fn new(loss: Loss, towards: Towards) -> Self {
        Self { loss, towards, seen: 0, of_handshake: 0 }
    }

    fn loses(&mut self, datagram: &[u8]) -> bool {
        self.seen += 1;
        // RFC 5246 §6.2.1: change_cipher_spec and handshake.
        let of_handshake = matches!(datagram.first(), Some(20 | 22));
        self.of_handshake += usize::from(of_handshake);
        match self.loss {
            Loss::None => false,
            Loss::Each(every) => self.towards == Towards::Far && self.seen.is_multiple_of(every),
            Loss::OfHandshake(towards, number) => {
                of_handshake && self.towards == towards && self.of_handshake == number + 1
            }
        }
    }
}

/// Gone when dropped.
pub struct Wire {
    /// What is sent to here comes out at the wire's other end.
    pub address: SocketAddr,
    _carriers: JoinSet<()>,
}

impl Wire {
    /// A wire to `far` that takes `delay` each way.
    pub async fn lay(far: SocketAddr, delay: Duration, loss: Loss) -> Self {
        let front = Arc::new(bind(far).await);
        let address = front.local_addr().expect("bound");
        let mut carriers = JoinSet::new();
        carriers.spawn(accept(front, far, delay, loss));
        Self { address, _carriers: carriers }
    }
}

async fn bind(beside: SocketAddr) -> UdpSocket {
    UdpSocket::bind((beside.ip(), 0)).await.expect("a port")
}

/// Each sender at the near end has a socket of its own at the far end, as behind a NAT.
async fn accept(front: Arc<UdpSocket>, far: SocketAddr, delay: Duration, loss: Loss) {
    let mut senders = HashMap::<SocketAddr, mpsc::Sender<Parcel>>::new();
    let mut carriers = JoinSet::new();
    let mut datagram = vec![0; 2048];
    let mut counted = Counted::new(loss, Towards::Far);
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
                carriers.spawn(collect(back, here, delay, Counted::new(loss, Towards::Near)));
                senders.entry(near).or_insert(there)
            }
        };
        if !counted.loses(&datagram[..length]) {
            let _ = sender.try_send((Instant::now() + delay, datagram[..length].to_vec()));
        }
    }
}

/// A datagram, and when it arrives.
type Parcel = (Instant, Vec<u8>);

async fn collect(from: Arc<UdpSocket>, parcels: mpsc::Sender<Parcel>, delay: Duration, mut counted: Counted) {
    let mut datagram = vec![0; 2048];
    // An error is that of a datagram sent before: nobody listens there any more.
    loop {
        if let Ok(length) = from.recv(&mut datagram).await
            && !counted.loses(&datagram[..length])
        {
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
