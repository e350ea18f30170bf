//! What lies between a daemon and its hub: a TCP relay whose connections can be cut.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

pub struct Switch {
    pub address: SocketAddr,
    cut: broadcast::Sender<()>,
    relaying: JoinHandle<()>,
}

impl Switch {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (cut, _) = broadcast::channel(1);
        let cuts = cut.clone();
        let relaying = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        Self { address, cut, relaying }
    }

    /// Cuts every connection. New ones are taken.
    pub fn cut(&self) {
        let _ = self.cut.send(());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}
