//! The daemon as a process, and the certificate of its server: the system's roots unless told otherwise, and a warning at
//! each start when nothing is judged.

mod common;
mod spider;

use common::daemon::{ChannelFile, Daemon};
use common::within;
use rustix::process::Signal;
use spider::Server;

/// A channel file for this server, with this said of TLS.
fn file(server: &Server, tls: &str) -> ChannelFile {
    ChannelFile::with(&format!(
        "[server]\nurl = \"wss://{}\"\n{tls}[camera]\nkind = \"test\"\nwidth = 320\nheight = 240\n[drive]\nactuator = \"simulated\"\n",
        server.address()
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_word_about_tls_the_systems_roots_decide() {
    let server = Server::start().await;
    let file = file(&server, "");
    let roots = file.beside("roots.pem");
    std::fs::write(&roots, &server.ca_pem).expect("the folder is ours");
    // Where the system keeps them may be told by OpenSSL's variable, as anywhere.
    let mut knows_it = file.command("run", &[]).env("SSL_CERT_FILE", &roots).spawn().expect("the program");
    let (_socket, path, _) = within("the publisher", server.accept()).await;
    assert!(path.starts_with("/live/ws/pub?"), "{path}");
    knows_it.kill().await.expect("it runs");

    let server = Server::start().await;
    file.write(&format!("[server]\nurl = \"wss://{}\"\n", server.address()));
    let mut does_not = Daemon::start(&file, &["camera.kind=test", "drive.actuator=simulated"]);
    assert!(within("TLS", server.tls.accept(server.tcp().await)).await.is_err(), "nobody vouches for it");
    does_not.process.says("certificate").await;
    does_not.process.signal(Signal::TERM);
    assert_eq!(does_not.process.exited().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_judges_nothing_is_warned_at_each_start() {
    let server = Server::start().await;
    let file = file(&server, "[tls]\ninsecure = true\n");
    for _ in 0..2 {
        let mut daemon = Daemon::start(&file, &[]);
        let _socket = within("the publisher", server.accept()).await;
        let warning = daemon.process.says("tls.insecure").await;
        assert!(warning.text.contains("WARN"), "{}", warning.text);
        daemon.process.signal(Signal::TERM);
        assert_eq!(daemon.process.exited().await.code, Some(0));
    }
}
