use socket2::{Domain, Socket as RawSocket, Type};
use tokio::net::TcpListener;

use super::*;

/// An address of this machine that neither accepts connections nor refuses them: its queue of such is full.
async fn silent() -> (SocketAddr, RawSocket, Vec<TcpStream>) {
    let listener = RawSocket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    listener.listen(0).expect("it listens");
    let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("bound");
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(stream);
    }
    (address, listener, queued)
}

#[tokio::test]
async fn an_address_that_leads_nowhere_does_not_hold_up_the_next() {
    let (nowhere, _listener, _queued) = silent().await;
    let good = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = good.local_addr().expect("bound");
    let connecting = tokio::time::timeout(Duration::from_secs(3), connect_tcp(vec![nowhere, address]));
    let stream = connecting.await.expect("in time").expect("a connection");
    assert_eq!(stream.peer_addr().expect("connected"), address);
}

#[tokio::test]
async fn a_path_that_comes_back_is_found_while_an_older_attempt_still_hangs() {
    let (address, listener, queued) = silent().await;
    let connecting = tokio::spawn(connect_tcp(vec![address]));
    // TCP by itself repeats its first packet after one second, then after two, then after four.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    listener.set_nonblocking(true).expect("it is ours");
    while listener.accept().is_ok() {}
    drop(queued);
    let connected = tokio::time::timeout(Duration::from_millis(1000), connecting).await.expect("in time");
    connected.expect("no panic").expect("a connection");
}

#[tokio::test]
async fn when_every_address_refuses_nothing_is_waited_for() {
    let free = async || TcpListener::bind("127.0.0.1:0").await.and_then(|gone| gone.local_addr()).expect("a port");
    let addresses = vec![free().await, free().await];
    let outcome = tokio::time::timeout(Duration::from_secs(3), connect_tcp(addresses)).await.expect("in time");
    assert!(matches!(outcome, Err(ConnectError::Connect { .. })), "{outcome:?}");
}
