use std::time::{Duration, Instant};

use super::dialogue::HELD_CANDIDATES;
use super::*;
use crate::signal::settings::{ChannelId, TlsConfig};
use crate::signal::spider::{Junk, parse};

mod trouble;

const SDP: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
const ONE: PeerId = PeerId(1);
const TWO: PeerId = PeerId(2);

fn config() -> SignalConfig {
    SignalConfig {
        server: "wss://example.org:8267".parse().expect("a URL"),
        channel: ChannelId::new("c40hipepjh65aeq6ndj0").expect("an id"),
        query: Vec::new(),
        token: None,
        trickle: Trickle::Candidate2,
        tls: TlsConfig::SystemRoots,
        ping_interval: secs(30),
        answer_timeout: secs(10),
        silence_timeout: secs(90),
        retry_min: Duration::from_millis(500),
        retry_max: secs(15),
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn candidate(name: &str) -> CandidateInit {
    CandidateInit::for_bundle(&format!("candidate:{name} 1 udp 1 192.0.2.1 4 typ host"))
}

/// A session on virtual time.
struct Story {
    session: Session,
    now: Instant,
}

impl Story {
    fn begin() -> Self {
        Self::with(&config())
    }

    fn with(config: &SignalConfig) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the start of virtual time")]
        let now = Instant::now();
        Self { session: Session::new(config, 7), now }
    }

    fn tell(&mut self, input: Input) -> Vec<Action> {
        self.session.handle(input, self.now)
    }

    fn says(&mut self, text: &str) -> Vec<Action> {
        self.tell(Input::Frame(parse(text)))
    }

    fn message(&mut self, message: Message) -> Vec<Action> {
        self.says(&message.to_text())
    }

    /// Lets time pass, serving every deadline on the way.
    fn pass(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut actions = Vec::new();
        for _ in 0..10_000 {
            match self.session.poll_timeout().filter(|due| *due <= end) {
                Some(due) => {
                    self.now = self.now.max(due);
                    actions.extend(self.session.handle_timeout(self.now));
                }
                None => {
                    self.now = end;
                    return actions;
                }
            }
        }
        panic!("timers do not settle");
    }

    /// From nothing to an offer on the wire.
    fn offered(&mut self) {
        self.tell(Input::SocketUp);
        let peer = PeerId(self.session.last_peer);
        self.tell(Input::OfferMade(peer, SDP.into()));
    }

    /// From nothing to a connected peer.
    fn established(&mut self) -> Vec<Action> {
        self.offered();
        let peer = PeerId(self.session.last_peer);
        self.message(Message::Answer(SDP.into()));
        self.tell(Input::AnswerApplied(peer));
        let actions = self.tell(Input::Peer(peer, PeerState::Connected));
        assert_eq!(self.tell(Input::StreamOpen(peer)), []);
        actions
    }
}

fn publishing() -> Story {
    let mut story = Story::begin();
    story.tell(Input::Start);
    story.established();
    story
}

fn lost(actions: &[Action]) -> Option<&str> {
    actions.iter().find_map(|action| match action {
        Action::Report(Report::Lost { reason, .. }) => Some(reason.as_str()),
        _ => None,
    })
}

#[test]
fn a_session_comes_up_in_the_references_order() {
    let mut story = Story::begin();
    assert_eq!(story.tell(Input::Start), [Action::Connect]);
    assert_eq!(story.tell(Input::SocketUp), [Action::MakePeer(ONE)]);
    assert_eq!(story.tell(Input::OfferMade(ONE, SDP.into())), [Action::Send(Message::Offer(SDP.into()))]);
    assert_eq!(story.message(Message::Answer(SDP.into())), [Action::ApplyAnswer(ONE, SDP.into())]);
    assert_eq!(story.tell(Input::AnswerApplied(ONE)), []);
    assert_eq!(
        story.tell(Input::Peer(ONE, PeerState::Connected)),
        [Action::Promote(ONE), Action::Report(Report::Publishing { peer: ONE, replaces: None })]
    );
}

#[test]
fn candidates_wait_for_what_they_need_in_both_directions() {
    let mut story = Story::begin();
    story.tell(Input::Start);
    story.tell(Input::SocketUp);
    assert_eq!(story.tell(Input::LocalCandidate(ONE, candidate("a"))), [], "the server knows no offer yet");
    assert_eq!(
        story.tell(Input::OfferMade(ONE, SDP.into())),
        [Action::Send(Message::Offer(SDP.into())), Action::Send(Message::Candidate2(candidate("a")))]
    );
    assert_eq!(
        story.tell(Input::LocalCandidate(ONE, candidate("b"))),
        [Action::Send(Message::Candidate2(candidate("b")))]
    );
    let old_style = "candidate:c 1 UDP 1 192.0.2.1 4 typ host";
    assert_eq!(story.message(Message::Candidate(old_style.into())), [], "no remote description yet");
    assert_eq!(story.message(Message::Candidate2(candidate("d"))), []);
    story.message(Message::Answer(SDP.into()));
    assert_eq!(
        story.tell(Input::AnswerApplied(ONE)),
        [Action::AddCandidate(ONE, candidate("c")), Action::AddCandidate(ONE, candidate("d"))]
    );
    assert_eq!(story.message(Message::Candidate2(candidate("e"))), [Action::AddCandidate(ONE, candidate("e"))]);
    assert_eq!(story.message(Message::Candidate(String::new())), [], "the end of candidates needs nothing");
}

#[test]
fn a_flood_of_early_candidates_is_bounded() {
    let mut story = Story::begin();
    story.tell(Input::Start);
    story.offered();
    for _ in 0..1000 {
        story.message(Message::Candidate2(candidate("x")));
        story.tell(Input::LocalCandidate(ONE, candidate("y")));
    }
    story.message(Message::Answer(SDP.into()));
    assert_eq!(story.tell(Input::AnswerApplied(ONE)).len(), HELD_CANDIDATES);
}

#[test]
fn each_trickle_style_sends_candidates_its_own_way() {
    for (style, sent) in [
        (Trickle::None, vec![]),
        (Trickle::Candidate, vec![Action::Send(Message::Candidate(candidate("a").candidate))]),
        (Trickle::Candidate2, vec![Action::Send(Message::Candidate2(candidate("a")))]),
    ] {
        let mut story = Story::with(&SignalConfig { trickle: style, ..config() });
        story.tell(Input::Start);
        story.offered();
        assert_eq!(story.tell(Input::LocalCandidate(ONE, candidate("a"))), sent, "{style:?}");
    }
}

#[test]
fn the_server_may_renegotiate() {
    let mut story = publishing();
    let offer = "v=0\r\nrenegotiated";
    assert_eq!(story.message(Message::Offer(offer.into())), [Action::AnswerOffer(ONE, offer.into())]);
    assert_eq!(story.tell(Input::AnswerMade(ONE, SDP.into())), [Action::Send(Message::Answer(SDP.into()))]);
}

#[test]
fn candidates_wait_while_an_offer_of_the_servers_is_answered_whatever_comes_of_it() {
    let (theirs, ours) = (Message::Candidate2(candidate("a")), candidate("b"));
    let released = [Action::AddCandidate(ONE, candidate("a")), Action::Send(Message::Candidate2(candidate("b")))];
    for answer in [Some(SDP), None] {
        let mut story = publishing();
        story.message(Message::Offer("v=0\r\nrestarted".into()));
        assert_eq!(story.message(theirs.clone()), []);
        assert_eq!(story.tell(Input::LocalCandidate(ONE, ours.clone())), []);
        assert_eq!(story.message(Message::Offer(SDP.into())), [ignored("an offer while another is being answered")]);
        let outcome = answer.map_or(Input::AnswerFailed(ONE), |sdp| Input::AnswerMade(ONE, sdp.into()));
        let actions = story.tell(outcome);
        let (sent, rest) = actions.split_at(usize::from(answer.is_some()));
        assert!(sent.iter().all(|action| *action == Action::Send(Message::Answer(SDP.into()))), "{sent:?}");
        assert_eq!(rest, released);
        assert_eq!(story.message(theirs.clone()), released[..1], "they wait no more");
    }
}

#[test]
fn what_is_out_of_place_is_ignored_and_harms_nothing() {
    let not_awaited = ignored("an answer that was not awaited");
    let mut story = Story::begin();
    story.tell(Input::Start);
    story.tell(Input::SocketUp);
    assert_eq!(
        story.message(Message::Answer(SDP.into())),
        std::slice::from_ref(&not_awaited),
        "an answer before the offer"
    );
    assert_eq!(story.message(Message::Offer(SDP.into())), [ignored("an offer while ours is open")]);
    assert_eq!(story.says(r#"{"type":"answer"}"#), [ignored("an answer without an SDP, and none was awaited")]);
    story.tell(Input::OfferMade(ONE, SDP.into()));
    story.message(Message::Answer(SDP.into()));
    assert_eq!(story.message(Message::Answer(SDP.into())), [not_awaited], "a second answer");
    for junk in ["[]", "5", "\"x\"", r#"{"type":5}"#, r#"{"type":"weather"}"#, "nonsense", r#"{"type":"offer"}"#] {
        let actions = story.says(junk);
        assert!(matches!(actions[..], [Action::Report(Report::Ignored(_))]), "{junk}: {actions:?}");
    }
    let binary = story.tell(Input::Frame(Incoming::Junk(Junk::Binary)));
    assert!(matches!(binary[..], [Action::Report(Report::Ignored(_))]));
    assert_eq!(story.message(Message::Ping), []);
    assert_eq!(story.message(Message::Joins("3".into())), [Action::Report(Report::Joins("3".into()))]);
    story.tell(Input::AnswerApplied(ONE));
    assert_eq!(story.tell(Input::Peer(ONE, PeerState::Connected))[0], Action::Promote(ONE), "it came up all the same");
}

#[test]
fn an_unusable_answer_ends_the_attempt_and_it_is_made_again() {
    let rejected = Input::AnswerRejected(ONE, "another m-line count".into());
    let no_sdp = Input::Frame(Incoming::UnusableAnswer);
    for (what, end) in [("no data", no_sdp), ("refused by the peer connection", rejected)] {
        let mut story = Story::begin();
        story.tell(Input::Start);
        story.offered();
        let actions = story.tell(end);
        assert_eq!(actions[..2], [Action::CloseSocket, Action::ClosePeer(ONE)], "{what}");
        assert!(lost(&actions).is_some(), "{what}");
        assert_eq!(story.pass(Duration::ZERO), [Action::Connect], "{what}: the first retry is at once");
        assert_eq!(story.tell(Input::SocketUp), [Action::MakePeer(TWO)], "{what}: with a peer of its own");
    }
}

#[test]
fn every_silence_has_its_deadline() {
    let mut story = Story::begin();
    story.tell(Input::Start);
    story.offered();
    assert_eq!(lost(&story.pass(Duration::from_millis(9_999))), None);
    assert_eq!(lost(&story.pass(Duration::from_millis(1))), Some("no answer within 10 s"));

    let mut story = Story::begin();
    story.tell(Input::Start);
    story.offered();
    story.message(Message::Answer(SDP.into()));
    assert_eq!(lost(&story.pass(secs(15))), Some("no connection within 15 s of the answer"));

    let mut story = publishing();
    let actions = story.pass(secs(89));
    assert_eq!(lost(&actions), None);
    let pings = actions.iter().filter(|action| **action == Action::Send(Message::Ping)).count();
    let probes = actions.iter().filter(|action| **action == Action::Probe).count();
    assert_eq!((pings, probes), (2, 2), "one of each every 30 s");
    assert_eq!(lost(&story.pass(secs(1))), Some("nothing heard from the server for 90 s"));
}

/// From nothing to a connected peer that has no `stream` channel yet.
fn connected_by(answer: &str) -> (Story, Vec<Action>) {
    let mut story = Story::begin();
    story.tell(Input::Start);
    story.offered();
    story.message(Message::Answer(answer.into()));
    story.tell(Input::AnswerApplied(ONE));
    let actions = story.tell(Input::Peer(ONE, PeerState::Connected));
    (story, actions)
}

#[test]
fn a_session_whose_stream_never_opens_is_made_anew_ever_more_seldom_beside_its_picture() {
    let (mut story, _) = connected_by(SDP);
    assert_eq!(lost(&story.pass(Duration::from_millis(9_999))), None);
    let actions = story.pass(Duration::from_millis(1));
    assert_eq!(lost(&actions), Some("the `stream` channel is not open 10 s after the connection"));
    assert!(!actions.contains(&Action::ClosePeer(ONE)), "the picture flows on");
    let mut attempts = 0;
    for _ in 0..600 {
        if story.pass(secs(1)).contains(&Action::Connect) || matches!(story.session.signalling, Signalling::Connecting)
        {
            attempts += 1;
            story.offered();
            let peer = PeerId(story.session.last_peer);
            story.message(Message::Answer(SDP.into()));
            story.tell(Input::Peer(peer, PeerState::Connected));
        }
    }
    assert!((20..=35).contains(&attempts), "{attempts} attempts in ten minutes");

    for first in [true, false] {
        let (mut story, _) = connected_by(SDP);
        if first {
            story.tell(Input::StreamOpen(ONE));
        } else {
            story = Story::begin();
            story.tell(Input::Start);
            story.offered();
            story.tell(Input::StreamOpen(ONE));
            story.message(Message::Answer(SDP.into()));
            story.tell(Input::Peer(ONE, PeerState::Connected));
        }
        assert_eq!(lost(&story.pass(secs(60))), None, "it opened");
    }
}

#[test]
fn a_server_that_takes_no_data_channels_is_told_of_once_and_keeps_its_picture() {
    let (mut story, actions) = connected_by("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n");
    assert_eq!(actions.last(), Some(&Action::Report(Report::NoControl(ONE))));
    let actions = story.pass(secs(60));
    assert!(actions.iter().all(|action| !matches!(action, Action::Report(_))), "{actions:?}");
    assert_eq!(story.session.live(), Some(ONE));
}

#[test]
fn any_traffic_at_all_keeps_the_socket() {
    let mut story = publishing();
    for _ in 0..100 {
        assert_eq!(lost(&story.pass(secs(60))), None);
        story.tell(Input::Alive);
    }
}

#[test]
fn a_lost_socket_keeps_the_picture_until_the_new_session_is_up() {
    let mut story = publishing();
    story.pass(secs(20));
    let actions = story.tell(Input::SocketLost("reset".into()));
    assert_eq!(actions[0], Action::CloseSocket);
    assert!(!actions.contains(&Action::ClosePeer(ONE)));
    assert!(matches!(actions[1], Action::Report(Report::Lost { still_live: true, retry_in: Duration::ZERO, .. })));
    assert_eq!(story.pass(Duration::ZERO), [Action::Connect]);
    let actions = story.established();
    assert_eq!(
        actions,
        [
            Action::Promote(TWO),
            Action::ClosePeer(ONE),
            Action::Report(Report::Publishing { peer: TWO, replaces: Some(ONE) })
        ]
    );
}

#[test]
fn an_attempt_that_fails_beside_a_live_picture_leaves_it_alone() {
    let mut story = publishing();
    story.tell(Input::SocketLost("reset".into()));
    story.pass(secs(15));
    story.offered();
    let actions = story.message(Message::Close);
    assert_eq!(actions[..2], [Action::CloseSocket, Action::ClosePeer(TWO)]);
    assert_eq!(story.session.live(), Some(ONE));
}

#[test]
fn it_retries_for_ever_and_tells_each_reason_once() {
    let mut story = Story::begin();
    story.tell(Input::Start);
    let mut told = 0;
    for _ in 0..500 {
        told += usize::from(lost(&story.tell(Input::SocketLost("refused".into()))).is_some());
        assert!(story.pass(secs(15)).contains(&Action::Connect));
    }
    assert_eq!(told, 1);
    assert_eq!(lost(&story.tell(Input::SocketLost("no such host".into()))), Some("no such host"));
}

#[test]
fn a_server_that_drops_every_session_at_once_is_not_hammered() {
    let mut story = publishing();
    let mut connects = 0;
    for _ in 0..20 {
        story.message(Message::Close);
        connects += story.pass(secs(1)).iter().filter(|action| **action == Action::Connect).count();
        if matches!(story.session.signalling, Signalling::Connecting) {
            story.established();
        }
    }
    assert!(connects <= 6, "{connects} connections in 20 s");
}

#[test]
fn a_session_that_held_is_retried_at_once() {
    let mut story = publishing();
    for _ in 0..5 {
        story.pass(secs(30));
        story.message(Message::Close);
        assert_eq!(story.pass(Duration::ZERO), [Action::Connect]);
        story.established();
    }
}

#[test]
fn shutdown_closes_everything_once_and_nothing_follows() {
    let mut story = publishing();
    assert_eq!(story.tell(Input::Shutdown), [Action::ClosePeer(ONE), Action::CloseSocket]);
    assert_eq!(story.session.poll_timeout(), None);
    assert_eq!(story.tell(Input::SocketLost("closed by this end".into())), []);
    assert_eq!(story.tell(Input::Peer(ONE, PeerState::Closed)), []);
}

#[test]
fn no_sequence_of_events_wedges_it() {
    use proptest::prelude::*;
    let input = prop_oneof![
        Just(Input::SocketUp),
        Just(Input::SocketLost("x".into())),
        Just(Input::Alive),
        Just(Input::NetworkChanged),
        Just(Input::RelayLost(ONE, "x".into())),
        prop_oneof![
            Just(Incoming::UnusableAnswer),
            Just(Incoming::Message(Message::Answer(SDP.into()))),
            Just(Incoming::Message(Message::Offer(SDP.into()))),
            Just(Incoming::Message(Message::Close)),
            Just(Incoming::Message(Message::Candidate("candidate:1".into()))),
        ]
        .prop_map(Input::Frame),
        (
            1u64..6,
            prop_oneof![
                Just(PeerState::Connected),
                Just(PeerState::Disconnected),
                Just(PeerState::Failed),
                Just(PeerState::Closed)
            ]
        )
            .prop_map(|(peer, state)| Input::Peer(PeerId(peer), state)),
        (1u64..6).prop_map(|peer| Input::OfferMade(PeerId(peer), SDP.into())),
        (1u64..6).prop_map(|peer| Input::OfferFailed(PeerId(peer), "x".into())),
        (1u64..6).prop_map(|peer| Input::AnswerApplied(PeerId(peer))),
        (1u64..6).prop_map(|peer| Input::StreamOpen(PeerId(peer))),
        (1u64..6).prop_map(|peer| Input::AnswerFailed(PeerId(peer))),
        (1u64..6).prop_map(|peer| Input::AnswerRejected(PeerId(peer), "x".into())),
    ];
    proptest!(|(inputs in proptest::collection::vec((input, 0u64..20_000), 0..60))| {
        let mut story = Story::begin();
        story.tell(Input::Start);
        for (input, millis) in inputs {
            story.tell(input);
            story.pass(Duration::from_millis(millis));
        }
        // Whatever happened, the server can be reached again: a socket attempt follows, or is under way.
        story.tell(Input::SocketLost("the end".into()));
        story.pass(secs(16));
        prop_assert!(matches!(story.session.signalling, Signalling::Connecting));
        story.established();
        prop_assert!(story.session.live().is_some());
    });
}
