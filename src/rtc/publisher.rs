//! The driver of [`Session`]: carries out its actions and tells it what happened.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::channels::{ControlSink, Links};
use super::congestion::{RateEdge, run_rate_control};
use super::ice::interfaces::LocalAddresses;
use super::ice::network::{NetworkWatch, still_leads};
use super::ice::servers::{IceServers, Purpose};
use super::mailbox::{Letter, Mailbox};
use super::peer::{Peer, PeerSetup, PictureSetup};
use super::pump::{self, FurtherEdge, LiveEnds, PictureEdge, PublishCounters};
use super::reports::Reporter;
use super::session::{Action, Input, PeerId, Session};
use super::settings::RtcConfig;
use super::status::PublishStatus;
use crate::resolver::Resolver;
use crate::signal::settings::{SignalConfig, Trickle};
use crate::signal::socket::{self, ConnectError, Route, Socket, SocketEvent, SocketSender, SocketTask};
use crate::video::further::{CameraName, MOST_FURTHER};

/// The session's loop turns at least this often, for those who watch over it.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// What the publisher is joined to.
pub struct Edges {
    /// The first picture.
    pub picture: PictureEdge,
    /// Those beside it, each a track of its own, [`MOST_FURTHER`] at the most.
    pub further: Vec<FurtherEdge>,
    /// Control out.
    pub control: Arc<dyn ControlSink>,
    /// Telemetry in.
    pub metrics: mpsc::Receiver<String>,
    /// What has been sent, for telemetry.
    pub counters: Arc<PublishCounters>,
    /// In which state the session is, for telemetry and status.
    pub status: watch::Sender<PublishStatus>,
    /// What the link carries out, to encoder and telemetry.
    pub rate: RateEdge,
}

/// Publishes until `shutdown`, reconnecting for ever. Returns when peers, sockets and tasks have ended.
pub async fn publish(signal: SignalConfig, rtc: RtcConfig, edges: Edges, shutdown: CancellationToken) {
    let mailbox = Arc::new(Mailbox::default());
    let links = Arc::new(Links::new(edges.control));
    let (live, ends) = watch::channel(None);
    let mut tasks = JoinSet::new();
    let mut pictures = Vec::new();
    let mut pump_media = |name: &str, picture: PictureEdge| {
        let place = pictures.len();
        let (on_key_frame_request, trace) = (picture.on_key_frame_request.clone(), picture.trace.clone());
        pictures.push(PictureSetup { name: name.to_owned(), on_key_frame_request, trace });
        tasks.spawn(pump::pump_media(picture, place, ends.clone(), mailbox.clone(), edges.counters.clone()));
    };
    pump_media(CameraName::FIRST, edges.picture);
    let mut shares = Vec::new();
    for FurtherEdge { name, picture, rate } in edges.further.into_iter().take(MOST_FURTHER) {
        pump_media(name.as_str(), picture);
        shares.push(rate);
    }
    tasks.spawn(pump::pump_metrics(edges.metrics, ends.clone(), edges.counters.clone()));
    let rate = edges.rate.config.clone();
    let further = shares.iter().map(|share| share.bitrate).collect();
    tasks.spawn(run_rate_control(edges.rate, shares, ends));
    let local_addresses = LocalAddresses::towards(signal.server.host(), &rtc.ice.interfaces);
    let network = NetworkWatch::new(local_addresses.clone()).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot watch the network; a change of it is noticed only when nothing comes through");
        None
    });
    let resolver = Arc::<Resolver>::default();
    let setup = PeerSetup {
        ice_servers: Arc::new(IceServers::new(&rtc.ice.servers, Purpose::Sessions, resolver.clone())),
        local_addresses,
        config: rtc,
        mailbox: mailbox.clone(),
        links: links.clone(),
        pictures,
        counters: edges.counters.clone(),
        rate,
        further,
    };
    let publisher = Publisher {
        counters: edges.counters,
        session: Session::new(&signal, rand::random()),
        reporter: Reporter::new(signal.channel.clone(), edges.status),
        signal: Arc::new(signal),
        resolver,
        setup: Arc::new(setup),
        mailbox,
        links,
        peers: HashMap::new(),
        socket: None,
        network,
        work: JoinSet::new(),
        tasks,
        live,
    };
    publisher.run(shutdown).await;
}

// Ten fields and more: it is the one place where the session's world is joined, and each is a different thing.
struct Publisher {
    counters: Arc<PublishCounters>,
    session: Session,
    reporter: Reporter,
    signal: Arc<SignalConfig>,
    resolver: Arc<Resolver>,
    setup: Arc<PeerSetup>,
    mailbox: Arc<Mailbox>,
    links: Arc<Links>,
    peers: HashMap<PeerId, Arc<Peer>>,
    socket: Option<OpenSocket>,
    network: Option<NetworkWatch>,
    /// What is under way for the session; each ends with what to tell it.
    work: JoinSet<Done>,
    /// The pumps and the socket's task: they end when their edges do.
    tasks: JoinSet<()>,
    live: watch::Sender<Option<LiveEnds>>,
}

struct OpenSocket {
    sender: SocketSender,
    events: mpsc::Receiver<SocketEvent>,
    route: Option<Route>,
}

/// The outcome of a piece of work.
enum Done {
    Connected(Result<(Socket, SocketTask), ConnectError>),
    Made(PeerId, Result<(Arc<Peer>, String), String>),
    Tell(Input),
    Nothing,
}

impl Publisher {
    async fn run(mut self, shutdown: CancellationToken) {
        self.tell(Input::Start);
        loop {
            self.counters.turns.fetch_add(1, Relaxed);
            let timeout = self.session.poll_timeout();
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = next_event(&mut self.socket) => self.socket_event(event),
                letter = self.mailbox.next() => match letter {
                    Letter::State(peer, state) => self.tell(Input::Peer(peer, state)),
                    Letter::Candidate(peer, candidate) => self.tell(Input::LocalCandidate(peer, candidate)),
                    Letter::RelayLost(peer, reason) => self.tell(Input::RelayLost(peer, reason)),
                    Letter::StreamOpen(peer) => self.tell(Input::StreamOpen(peer)),
                },
                // An error is a panic, which the process-wide hook has reported and answers by ending the process.
                Some(done) = self.work.join_next() => if let Ok(done) = done {
                    self.done(done);
                },
                // Whoever watches this loop sees it turn.
                () = tokio::time::sleep(LONGEST_TURN) => {}
                changed = network_change(&mut self.network) => self.network_changed(changed),
                () = sleep_until(timeout) => {
                    let actions = self.session.handle_timeout(now());
                    self.carry_out(actions);
                }
            }
        }
        self.close().await;
    }

    fn tell(&mut self, input: Input) {
        let actions = self.session.handle(input, now());
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect => {
                let (signal, resolver) = (self.signal.clone(), self.resolver.clone());
                self.work.spawn(async move { Done::Connected(socket::connect(&signal, &resolver).await) });
            }
            Action::Send(message) => self.write(|socket| socket.send(message)),
            Action::Probe => self.write(SocketSender::probe),
            Action::CloseSocket => {
                if let Some(socket) = self.socket.take() {
                    socket.sender.close();
                }
            }
            Action::MakePeer(id) => self.make_peer(id),
            Action::RestartIce(id) => {
                let all_candidates = self.signal.trickle == Trickle::None;
                self.with_peer(id, async move |peer| match peer.restart_ice(all_candidates).await {
                    Ok(sdp) => Done::Tell(Input::OfferMade(id, sdp)),
                    Err(error) => Done::Tell(Input::OfferFailed(id, error.to_string())),
                });
            }
            Action::ApplyAnswer(id, sdp) => self.with_peer(id, async move |peer| match peer.apply_answer(sdp).await {
                Ok(()) => Done::Tell(Input::AnswerApplied(id)),
                Err(error) => Done::Tell(Input::AnswerRejected(id, error.to_string())),
            }),
            Action::AnswerOffer(id, sdp) => {
                let all_candidates = self.signal.trickle == Trickle::None;
                self.with_peer(id, async move |peer| match peer.answer(sdp, all_candidates).await {
                    Ok(Some(sdp)) => Done::Tell(Input::AnswerMade(id, sdp)),
                    Ok(None) => {
                        Done::Tell(Input::Worn(id, "the server wants a picture again that it had ended".into()))
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the server's offer cannot be used; the session goes on as it was");
                        Done::Tell(Input::AnswerFailed(id))
                    }
                });
            }
            Action::AddCandidate(id, candidate) => self.with_peer(id, async move |peer| {
                if let Err(error) = peer.add_candidate(candidate).await {
                    tracing::debug!(%error, "a remote candidate cannot be used");
                }
                Done::Nothing
            }),
            Action::Promote(id) => self.promote(id),
            Action::ClosePeer(id) => self.close_peer(id),
            Action::Report(report) => self.reporter.report(report, now()),
        }
    }

    fn write(&mut self, write: impl FnOnce(&SocketSender) -> Result<(), socket::SocketFull>) {
        // A socket that takes no more is about to say that it has closed.
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| write(&socket.sender)) {
            tracing::debug!(%error, "a signalling message is dropped");
        }
    }

    fn with_peer<F, W>(&mut self, id: PeerId, work: F)
    where
        F: FnOnce(Arc<Peer>) -> W,
        W: Future<Output = Done> + Send + 'static,
    {
        if let Some(peer) = self.peers.get(&id) {
            self.work.spawn(work(peer.clone()));
        }
    }

    fn make_peer(&mut self, id: PeerId) {
        let setup = self.setup.clone();
        let all_candidates = self.signal.trickle == Trickle::None;
        self.work.spawn(async move {
            let peer = match Peer::new(id, &setup).await {
                Ok(peer) => Arc::new(peer),
                Err(error) => return Done::Made(id, Err(error.to_string())),
            };
            match peer.offer(all_candidates).await {
                Ok(sdp) => Done::Made(id, Ok((peer, sdp))),
                Err(error) => {
                    peer.close().await;
                    Done::Made(id, Err(error.to_string()))
                }
            }
        });
    }

    fn promote(&mut self, id: PeerId) {
        self.links.promote(id);
        self.live.send_replace(self.peers.get(&id).map(|peer| peer.live_ends()));
    }

    fn close_peer(&mut self, id: PeerId) {
        if self.session.live().is_none() {
            self.live.send_replace(None);
        }
        if let Some(peer) = self.peers.remove(&id) {
            self.work.spawn(async move {
                peer.close().await;
                Done::Nothing
            });
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Connected(Ok((Socket { sender, events, route }, task))) => {
                self.tasks.spawn(task);
                self.socket = Some(OpenSocket { sender, events, route });
                self.reporter.tried();
                self.tell(Input::SocketUp);
            }
            Done::Connected(Err(error)) => {
                self.reporter.tried();
                self.tell(Input::SocketLost(error.to_string()));
            }
            Done::Made(id, Ok((peer, sdp))) => {
                self.peers.insert(id, peer);
                if self.session.speaks_of(id) {
                    self.tell(Input::OfferMade(id, sdp));
                } else {
                    self.close_peer(id);
                }
            }
            Done::Made(id, Err(reason)) => self.tell(Input::OfferFailed(id, reason)),
            Done::Tell(input) => self.tell(input),
            Done::Nothing => {}
        }
        // Tasks that have ended by themselves.
        while self.tasks.try_join_next().is_some() {}
    }

    /// What was bound to the network of before must find a way over this one, signalling first.
    fn network_changed(&mut self, changed: io::Result<()>) {
        if let Err(error) = changed {
            tracing::warn!(%error, "the network is no longer watched");
            self.network = None;
            return;
        }
        let stranded = |route: Route| !still_leads(route.local.ip(), route.server);
        if self.socket.as_ref().and_then(|socket| socket.route).is_some_and(stranded) {
            // Nothing it sends arrives, not even its end.
            self.socket = None;
            self.tell(Input::SocketLost("the network changed".to_owned()));
        }
        let Some(peer) = self.session.settled().and_then(|id| self.peers.get(&id)).cloned() else {
            return self.tell(Input::NetworkChanged);
        };
        // An address that the session does not use may come and go.
        self.work.spawn(async move {
            if peer.still_leads().await { Done::Nothing } else { Done::Tell(Input::NetworkChanged) }
        });
    }

    fn socket_event(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::Frame(frame) => self.tell(Input::Frame(frame)),
            SocketEvent::Alive => self.tell(Input::Alive),
            SocketEvent::Closed(reason) => {
                self.socket = None;
                self.tell(Input::SocketLost(reason.to_string()));
            }
        }
    }

    /// Peers first, so that the server hears of it from DTLS and SCTP; then the socket; then every task.
    async fn close(mut self) {
        self.tell(Input::Shutdown);
        drop(self.live);
        // `tell` has taken the socket and spawned the closing of each peer it knew.
        while let Some(done) = self.work.join_next().await {
            if let Ok(Done::Made(_, Ok((peer, _)))) = done {
                peer.close().await;
            }
        }
        self.tasks.shutdown().await;
    }
}

async fn next_event(socket: &mut Option<OpenSocket>) -> SocketEvent {
    match socket {
        Some(socket) => socket.events.recv().await.unwrap_or(SocketEvent::Closed(socket::CloseReason::Ours)),
        None => std::future::pending().await,
    }
}

async fn network_change(network: &mut Option<NetworkWatch>) -> io::Result<()> {
    match network {
        Some(network) => network.changed().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the shell of a pure state machine")]
fn now() -> Instant {
    Instant::now()
}

/// How long closing may take before the caller gives up on it.
pub const CLOSE_DEADLINE: Duration = Duration::from_millis(1500);
