//! The hub's end of a socket on virtual time; the other end is raw bytes.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use crate::signal::socket;

/// A socket's server side, its pump, and the client's raw end.
async fn open() -> (Signalling, JoinHandle<()>, DuplexStream) {
    let (server, client) = tokio::io::duplex(64 * 1024);
    let (socket, pump) = socket::accept(server).await;
    (Signalling::new(socket), tokio::spawn(pump), client)
}

/// One short unmasked frame (RFC 6455 §5.2): its opcode and its payload.
async fn read_frame(client: &mut DuplexStream) -> (u8, String) {
    let mut head = [0; 2];
    client.read_exact(&mut head).await.expect("a frame");
    let mut payload = vec![0; usize::from(head[1])];
    client.read_exact(&mut payload).await.expect("a payload");
    (head[0] & 0x0f, String::from_utf8_lossy(&payload).into_owned())
}

/// A short text frame, masked with zeros.
async fn write_text(client: &mut DuplexStream, text: &str) {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short text");
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    client.write_all(&frame).await.expect("written");
}

const TEXT: u8 = 1;
const PING: u8 = 9;

#[tokio::test(start_paused = true)]
async fn a_socket_without_an_offer_is_closed_after_half_a_minute() {
    let (mut signalling, _pump, _client) = open().await;
    let start = now();
    assert_eq!(signalling.next().await, Request::Closed("no offer".to_owned()));
    assert_eq!(now() - start, OFFER_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn pings_go_out_every_half_minute_and_silence_ends_the_socket() {
    let (mut signalling, _pump, mut client) = open().await;
    signalling.offer_by = None;
    let start = now();
    let ends = tokio::spawn(async move { signalling.next().await });
    for _ in 0..2 {
        assert_eq!(read_frame(&mut client).await, (TEXT, r#"{"type":"ping"}"#.to_owned()));
        assert_eq!(read_frame(&mut client).await.0, PING);
    }
    assert_eq!(now() - start, 2 * PING_INTERVAL);
    assert_eq!(ends.await.expect("no panic"), Request::Closed("nothing heard".to_owned()));
    assert_eq!(now() - start, SILENCE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn anything_heard_keeps_the_socket_and_junk_is_no_request() {
    let (mut signalling, _pump, mut client) = open().await;
    signalling.offer_by = None;
    let ends = tokio::spawn(async move { signalling.next().await });
    for text in [r#"{"type":"ping"}"#, "nonsense", r#"{"type":"answer"}"#, "[]"] {
        tokio::time::sleep(SILENCE_TIMEOUT - Duration::from_secs(1)).await;
        write_text(&mut client, text).await;
    }
    let candidate = r#"{"type":"candidate","data":"candidate:1 1 UDP 1 192.0.2.1 4 typ host"}"#;
    write_text(&mut client, candidate).await;
    let expected = CandidateInit::for_bundle("candidate:1 1 udp 1 192.0.2.1 4 typ host");
    assert_eq!(ends.await.expect("no panic"), Request::Candidate(expected));
}

#[tokio::test(start_paused = true)]
async fn what_a_client_trickles_decides_how_it_is_trickled_to() {
    let (mut signalling, _pump, mut client) = open().await;
    let init = CandidateInit::for_bundle("candidate:1 1 udp 1 192.0.2.1 4 typ host");
    signalling.send_candidate(init.clone());
    assert!(read_frame(&mut client).await.1.starts_with(r#"{"type":"candidate2""#));
    write_text(&mut client, r#"{"type":"candidate","data":"candidate:2 1 udp 1 192.0.2.2 4 typ host"}"#).await;
    signalling.next().await;
    signalling.send_candidate(init);
    assert!(read_frame(&mut client).await.1.starts_with(r#"{"type":"candidate","#));
}

#[tokio::test(start_paused = true)]
async fn candidates_before_the_offer_are_kept_up_to_a_bound() {
    let (mut signalling, _pump, _client) = open().await;
    for _ in 0..EARLY_CANDIDATES + 10 {
        signalling.candidate(None, CandidateInit::for_bundle("candidate:1")).await;
    }
    assert_eq!(signalling.early.len(), EARLY_CANDIDATES);
}

#[tokio::test(start_paused = true)]
async fn a_dismissed_client_reads_the_bare_close() {
    let (mut signalling, pump, mut client) = open().await;
    signalling.dismiss();
    assert_eq!(read_frame(&mut client).await, (TEXT, "close".to_owned()));
    pump.await.expect("it ends");
}
