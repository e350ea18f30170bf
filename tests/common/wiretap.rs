//! Between a daemon and its hub: relays their signalling, remembers what is secret in it, and can say to the daemon
//! what no hub would.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use super::daemon::CHANNEL;
use super::signal::Signal;

/// What a test wants of it before it is done with the last one.
const ORDERS_CAPACITY: usize = 16;

/// The relay; ends when dropped.
pub struct Wiretap {
    /// Where the daemon finds its hub, without TLS.
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    orders: broadcast::Sender<Order>,
    relaying: JoinHandle<()>,
}

#[derive(Clone)]
enum Order {
    Say(String),
    Cut,
}

/// The hub behind it.
#[derive(Clone)]
struct Hub {
    address: SocketAddr,
    pin: [u8; 32],
    token: String,
}

impl Wiretap {
    /// Listens at `here`; the hub wants this token.
    pub async fn new(here: IpAddr, hub: SocketAddr, pin: [u8; 32], token: &str) -> Self {
        let listener = TcpListener::bind((here, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (orders, _) = broadcast::channel(ORDERS_CAPACITY);
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let hub = Hub { address: hub, pin, token: token.to_owned() };
        let (ordered, hears) = (orders.clone(), heard.clone());
        let relaying = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(relay(near, hub.clone(), ordered.subscribe(), hears.clone()));
            }
        });
        Self { address, heard, orders, relaying }
    }

    /// Each side's SDP passwords and user name fragments until now.
    pub fn secrets(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").clone()
    }

    /// Says this to the daemon as if the hub had.
    pub fn says(&self, text: &str) {
        let _ = self.orders.send(Order::Say(text.to_owned()));
    }

    /// Cuts the connection. The next one is taken.
    pub fn cut(&self) {
        let _ = self.orders.send(Order::Cut);
    }
}

impl Drop for Wiretap {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

async fn relay(near: TcpStream, hub: Hub, mut orders: broadcast::Receiver<Order>, heard: Arc<Mutex<Vec<String>>>) {
    let Ok(mut near) = tokio_tungstenite::accept_async(near).await else { return };
    let path = format!("/live/ws/pub?channel={CHANNEL}&vcodec=h264");
    let bearer = format!("Bearer {}", hub.token);
    // A hub that is gone is the daemon's trouble.
    let far = Signal::open(hub.address, Some(hub.pin), &path, &[("authorization", &bearer)]).await;
    let Ok(mut far) = far else { return };
    let remember = |text: &str| heard.lock().expect("no panic").extend(secrets_in(text));
    loop {
        tokio::select! {
            message = near.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    remember(&text);
                    far.send_raw(Message::Text(text)).await;
                }
                Some(Ok(_)) => {}
                _ => return,
            },
            text = far.receive_text() => {
                let Some(text) = text else { return };
                remember(&text);
                if near.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
            order = orders.recv() => match order {
                Ok(Order::Say(text)) => {
                    let _ = near.send(Message::text(text)).await;
                }
                Ok(Order::Cut) | Err(_) => return,
            },
        }
    }
}

fn secrets_in(text: &str) -> impl Iterator<Item = String> {
    let values = ["ice-pwd:", "ice-ufrag:"].into_iter().flat_map(|name| text.split(name).skip(1));
    values.map(|rest| rest.split(['\\', '\r', '\n', '"']).next().unwrap_or_default().to_owned())
}
