//! A Spider signalling socket as any client has it, made without the program's own client.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rtcpub::signal::settings::TlsConfig;
use rtcpub::signal::tls;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub struct Signal {
    socket: WebSocketStream<Box<dyn Stream>>,
}

impl Signal {
    /// Opens `path` (with its query) over TLS when there is a pin, with these extra headers.
    pub async fn open(
        address: SocketAddr,
        pin: Option<[u8; 32]>,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let tcp = TcpStream::connect(address).await?;
        let (scheme, stream): (_, Box<dyn Stream>) = match pin {
            None => ("ws", Box::new(tcp)),
            Some(pin) => {
                let config = tls::client_config(&TlsConfig::Pin(pin), "tls.").expect("a TLS client");
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
                let name = address.ip().into();
                ("wss", Box::new(connector.connect(name, tcp).await?))
            }
        };
        let mut request = format!("{scheme}://{address}{path}").into_client_request()?;
        for (name, value) in headers {
            let name = tokio_tungstenite::tungstenite::http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self { socket })
    }

    pub async fn send(&mut self, kind: &str, data: &str) {
        self.send_raw(Message::text(json!({"type": kind, "data": data}).to_string())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        // A closed socket shows at the next receive.
        let _ = self.socket.send(message).await;
    }

    /// The next text frame; `None` when the socket has closed.
    pub async fn receive_text(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message: its type and its data. The bare `close` comes as a type of its own.
    pub async fn receive(&mut self) -> Option<(String, String)> {
        let text = self.receive_text().await?;
        if text == "close" {
            return Some((text, String::new()));
        }
        let message: Value = serde_json::from_str(&text).expect("JSON");
        let field = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        Some((field("type"), field("data")))
    }

    /// The data of the next message of this type; others are skipped.
    pub async fn receive_of(&mut self, kind: &str) -> Option<String> {
        loop {
            let (found, data) = self.receive().await?;
            if found == kind {
                return Some(data);
            }
        }
    }
}
