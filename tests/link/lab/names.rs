//! A DNS server for one machine (RFC 1035 §4.1), which can be made to fall silent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::net::UdpSocket;

/// What the server does, and what it was asked.
#[derive(Default)]
pub struct Dns {
    pub silent: AtomicBool,
    pub questions: AtomicU64,
}

/// Answers every question for an IPv4 address with this one, and that there is nothing to any other, until dropped.
pub async fn serve(at: SocketAddr, address: Ipv4Addr, dns: Arc<Dns>) {
    let socket = UdpSocket::bind(at).await.expect("nobody else serves here");
    let mut question = [0; 512];
    loop {
        let (length, client) = socket.recv_from(&mut question).await.expect("it is ours");
        dns.questions.fetch_add(1, Ordering::SeqCst);
        if !dns.silent.load(Ordering::SeqCst) {
            let _ = socket.send_to(&answer(&question[..length], address), client).await;
        }
    }
}

fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    const HEADER: usize = 12;
    const A: [u8; 2] = [0, 1];
    let name_ends = question[HEADER..].iter().position(|byte| *byte == 0).expect("a name ends with the root");
    let ends = HEADER + name_ends + 1 + 4;
    let wanted = &question[ends - 4..ends - 2];
    let answers = u8::from(wanted == A);
    let mut answer = question[..2].to_vec();
    // A response, recursion desired and available; one question, and no or one answer.
    answer.extend([0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]);
    answer.extend(&question[HEADER..ends]);
    if answers == 1 {
        // The name of the question, A, IN, not to be kept, four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
