//! The status socket: whoever connects is told one document, and that is all.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::settings::StatusConfig;
use crate::unix_socket::{ListenError, Listening};

/// Askers served at once. Full: further ones wait in the kernel's queue, each at most as long as a slow one may take.
const MAX_ASKERS: usize = 4;
/// An asker that has not read its document by then is left to itself.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// The system could not accept a connection: it is asked again after this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// The open socket. Its file goes with it.
#[derive(Debug)]
pub struct StatusSocket {
    listening: Listening,
}

impl StatusSocket {
    /// Listens, for the owner and group of the file alone.
    ///
    /// # Errors
    /// The socket cannot be made, or another daemon has it.
    pub fn open(config: &StatusConfig) -> Result<Self, ListenError> {
        Ok(Self { listening: Listening::open(&config.socket)? })
    }

    /// Answers until `shutdown`. A slow asker costs the memory of one document.
    pub async fn serve(self, document: Arc<dyn Fn() -> String + Send + Sync>, shutdown: CancellationToken) {
        let listener = match self.listener() {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "rtcpub status will get no answer");
                return shutdown.cancelled().await;
            }
        };
        let mut askers = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = askers.join_next() => {}
                accepted = listener.accept(), if askers.len() < MAX_ASKERS => match accepted {
                    Ok((stream, _)) => {
                        askers.spawn(answer(stream, document()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "an asker could not be heard");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        askers.shutdown().await;
    }

    fn listener(&self) -> io::Result<UnixListener> {
        UnixListener::from_std(self.listening.listener.try_clone()?)
    }
}

async fn answer(mut stream: UnixStream, document: String) {
    let write = async {
        stream.write_all(document.as_bytes()).await?;
        stream.write_all(b"\n").await?;
        stream.shutdown().await
    };
    if !matches!(tokio::time::timeout(WRITE_TIMEOUT, write).await, Ok(Ok(()))) {
        tracing::debug!("someone asked for the status and did not wait for it");
    }
}
