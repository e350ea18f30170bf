//! The exposition over HTTP, for Prometheus to fetch.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::exposition;
use super::settings::MetricsConfig;

/// Connections at once; a Prometheus keeps one. Full: further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 8;
/// A connection that asks nothing for so long is closed: longer than the usual minute between two scrapes would only
/// keep it for nothing.
const IDLE: Duration = Duration::from_secs(65);
/// A connection is closed after this long, whatever it does.
const LONGEST: Duration = Duration::from_secs(3600);
/// Largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// The system could not accept a connection: it is asked again after this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// What makes the page.
pub type MakePage = Arc<dyn Fn() -> String + Send + Sync>;

/// The open port.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
}

impl MetricsServer {
    /// Listens.
    ///
    /// # Errors
    /// One sentence that names the address.
    pub async fn bind(config: MetricsConfig) -> Result<Self, String> {
        let bound = TcpListener::bind(config.listen).await;
        let listener = bound.map_err(|error| format!("metrics.listen = \"{}\": {error}", config.listen))?;
        Ok(Self { listener })
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Answers until `shutdown`.
    pub async fn serve(self, page: MakePage, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, page.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "Prometheus could not be heard");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        connections.shutdown().await;
    }
}

async fn connection(stream: TcpStream, page: MakePage) {
    let service = service_fn(|request| {
        let reply = respond(&request, &page);
        async move { Ok::<_, Infallible>(reply) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(LONGEST, http).await {
        tracing::debug!(%error, "a connection for metrics");
    }
}

fn respond<B>(request: &Request<B>, page: &MakePage) -> Response<Full<Bytes>> {
    let reply = Response::builder().header(CONTENT_TYPE, exposition::CONTENT_TYPE);
    let (reply, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (reply, page()),
        (&Method::GET | &Method::HEAD, _) => (reply.status(StatusCode::NOT_FOUND), "it is at /metrics\n".to_owned()),
        _ => (reply.status(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, "GET, HEAD"), String::new()),
    };
    reply.body(Full::new(text.into())).expect("headers written in this file are valid")
}
