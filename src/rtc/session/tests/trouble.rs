//! What becomes of a peer in trouble.

use super::*;

#[test]
fn a_disconnected_peer_may_recover_then_ice_restarts_then_the_session_is_made_anew() {
    let mut story = publishing();
    assert_eq!(story.tell(Input::Peer(ONE, PeerState::Disconnected)), []);
    assert_eq!(story.pass(Duration::from_millis(2_999)), []);
    story.tell(Input::Peer(ONE, PeerState::Connected));
    assert_eq!(story.pass(secs(20)), [], "it recovered by itself");

    story.tell(Input::Peer(ONE, PeerState::Disconnected));
    let actions = story.pass(secs(3));
    assert_eq!(actions[1], Action::RestartIce(ONE));
    assert_eq!(story.tell(Input::OfferMade(ONE, SDP.into())), [Action::Send(Message::Offer(SDP.into()))]);
    assert_eq!(story.message(Message::Answer(SDP.into())), [Action::ApplyAnswer(ONE, SDP.into())]);
    story.tell(Input::AnswerApplied(ONE));
    assert_eq!(story.tell(Input::Peer(ONE, PeerState::Connected)), [Action::Report(Report::Restarted(ONE))]);

    let restart = story.tell(Input::Peer(ONE, PeerState::Failed));
    assert_eq!(restart[1], Action::RestartIce(ONE));
    let actions = story.pass(secs(5));
    assert!(actions.contains(&Action::ClosePeer(ONE)), "it is dead: {actions:?}");
    assert!(actions.contains(&Action::Report(Report::PictureLost(ONE))));
    assert_eq!(lost(&actions), Some("an ICE restart brought nothing within 5 s"));
    assert_eq!(actions.last(), Some(&Action::Connect));
}

#[test]
fn an_old_way_that_comes_back_while_ice_restarts_does_not_end_the_restart() {
    let mut story = publishing();
    story.tell(Input::Peer(ONE, PeerState::Disconnected));
    assert!(story.pass(secs(3)).contains(&Action::RestartIce(ONE)));
    assert_eq!(story.tell(Input::Peer(ONE, PeerState::Connected)), [], "the restart is under way all the same");
    assert_eq!(story.tell(Input::OfferMade(ONE, SDP.into())), [Action::Send(Message::Offer(SDP.into()))]);
    assert_eq!(story.message(Message::Answer(SDP.into())), [Action::ApplyAnswer(ONE, SDP.into())]);
    assert_eq!(story.tell(Input::Peer(ONE, PeerState::Connected)), [Action::Report(Report::Restarted(ONE))]);
}

#[test]
fn a_peer_that_the_server_restarts_is_restarted_from_here_when_nothing_comes_of_it() {
    let mut story = publishing();
    assert_eq!(story.tell(Input::Peer(ONE, PeerState::New)), []);
    story.tell(Input::Peer(ONE, PeerState::Connected));
    assert_eq!(story.pass(secs(20)), [], "it succeeded");
    story.tell(Input::Peer(ONE, PeerState::New));
    assert_eq!(story.pass(Duration::from_millis(4_999)), []);
    assert!(story.pass(Duration::from_millis(1)).contains(&Action::RestartIce(ONE)));
}

#[test]
fn a_restart_of_the_servers_is_given_its_time_when_the_peer_is_in_trouble_already() {
    let mut story = publishing();
    story.tell(Input::AnswerApplied(ONE));
    story.tell(Input::Peer(ONE, PeerState::Disconnected));
    assert_eq!(story.pass(Duration::from_millis(2_500)), []);
    assert_eq!(story.message(Message::Offer(SDP.into())), [Action::AnswerOffer(ONE, SDP.into())]);
    // Neither what was due for the trouble nor anything else comes between the offer and its answer.
    assert_eq!(story.pass(Duration::from_millis(600)), []);
    assert_eq!(story.tell(Input::NetworkChanged), []);
    story.tell(Input::Peer(ONE, PeerState::New));
    story.tell(Input::AnswerMade(ONE, "answer".into()));
    assert_eq!(story.pass(Duration::from_millis(4_900)), []);
    story.tell(Input::Peer(ONE, PeerState::Connected));
    assert_eq!(story.pass(secs(20)), [], "it succeeded");
}

#[test]
fn a_peer_that_cannot_give_what_the_server_wants_carries_the_picture_until_another_can() {
    let mut story = publishing();
    let actions = story.tell(Input::Worn(ONE, "why".into()));
    assert!(lost(&actions).is_some() && !actions.contains(&Action::ClosePeer(ONE)), "{actions:?}");
    assert_eq!(story.session.live(), Some(ONE));
}

#[test]
fn a_restart_that_begins_after_its_socket_is_lost_takes_the_picture_with_it() {
    let mut story = publishing();
    story.tell(Input::NetworkChanged);
    story.tell(Input::SocketLost("reset".into()));
    assert_eq!(story.session.live(), Some(ONE), "it flows until the restart is carried out");
    let actions = story.tell(Input::Peer(ONE, PeerState::New));
    assert_eq!(actions, [Action::ClosePeer(ONE), Action::Report(Report::PictureLost(ONE))]);
    assert_eq!(story.session.live(), None);
}

#[test]
fn a_restart_for_a_new_network_does_not_cut_a_picture_that_still_flows() {
    let mut story = publishing();
    assert!(story.tell(Input::NetworkChanged).contains(&Action::RestartIce(ONE)));
    let actions = story.pass(secs(5));
    assert!(lost(&actions).is_some());
    assert!(!actions.contains(&Action::ClosePeer(ONE)));
    assert_eq!(story.session.live(), Some(ONE));
}

#[test]
fn a_socket_lost_during_an_unanswered_restart_takes_a_dead_picture_with_it_and_no_other() {
    for (state, dead) in [(PeerState::New, true), (PeerState::Disconnected, true), (PeerState::Connected, false)] {
        let mut story = publishing();
        story.tell(Input::NetworkChanged);
        story.tell(Input::Peer(ONE, state));
        let actions = story.tell(Input::SocketLost("reset".into()));
        assert_eq!(actions.iter().filter(|action| **action == Action::ClosePeer(ONE)).count(), usize::from(dead));
        assert_eq!(actions.contains(&Action::Report(Report::PictureLost(ONE))), dead, "{state:?}");
        let told = actions.iter().find_map(|action| match action {
            Action::Report(Report::Lost { still_live, .. }) => Some(*still_live),
            _ => None,
        });
        assert_eq!((told, story.session.live()), (Some(!dead), (!dead).then_some(ONE)), "{state:?}");
    }
}

#[test]
fn a_new_network_is_tried_at_once_however_long_the_old_one_had_failed() {
    let mut story = publishing();
    for _ in 0..5 {
        story.tell(Input::SocketLost("no route".into()));
        story.pass(secs(20));
    }
    story.tell(Input::SocketLost("no route".into()));
    assert_eq!(story.tell(Input::NetworkChanged), [Action::Connect]);
    assert_eq!(story.tell(Input::NetworkChanged), [], "it is being tried");
}

#[test]
fn a_session_that_the_network_changes_under_before_it_is_up_is_made_anew_at_once() {
    let answer = || Input::Frame(Incoming::Message(Message::Answer(SDP.into())));
    let so_far = [Input::SocketUp, Input::OfferMade(ONE, SDP.into()), answer(), Input::AnswerApplied(ONE)];
    for known in 1..=so_far.len() {
        let mut story = Story::begin();
        story.tell(Input::Start);
        for input in &so_far[..known] {
            story.tell(input.clone());
        }
        let actions = story.tell(Input::NetworkChanged);
        assert_eq!(actions[..2], [Action::CloseSocket, Action::ClosePeer(ONE)], "after {known}");
        assert_eq!(lost(&actions), Some("the network changed"), "after {known}");
        assert_eq!(story.pass(Duration::ZERO), [Action::Connect], "after {known}");
    }
}

#[test]
fn a_lost_relay_restarts_ice_at_once_for_the_peer_that_used_it() {
    let mut story = publishing();
    assert_eq!(story.tell(Input::RelayLost(TWO, "reset".into())), [], "nobody's");
    let actions = story.tell(Input::RelayLost(ONE, "reset".into()));
    let why = "the TURN server is lost: reset".to_owned();
    assert_eq!(actions, [Action::Report(Report::Restarting(ONE, why)), Action::RestartIce(ONE)]);
    assert_eq!(story.tell(Input::RelayLost(ONE, "again".into())), [], "a restart is under way");
    story.tell(Input::SocketLost("reset".into()));
    assert_eq!(story.tell(Input::RelayLost(ONE, "again".into())), [], "nobody to tell of a restart");
}

#[test]
fn a_peer_that_is_gone_is_replaced_by_a_whole_new_session() {
    let mut story = publishing();
    story.pass(secs(6));
    let actions = story.tell(Input::Peer(ONE, PeerState::Closed));
    assert_eq!(actions[..3], [Action::ClosePeer(ONE), Action::Report(Report::PictureLost(ONE)), Action::CloseSocket]);
    assert_eq!(actions.iter().filter(|action| **action == Action::ClosePeer(ONE)).count(), 1);
    assert_eq!(story.pass(Duration::ZERO), [Action::Connect]);
}

#[test]
fn events_of_a_peer_that_was_replaced_mean_nothing() {
    let mut story = publishing();
    story.tell(Input::SocketLost("reset".into()));
    story.pass(secs(1));
    story.established();
    for input in [
        Input::Peer(ONE, PeerState::Failed),
        Input::Peer(ONE, PeerState::Closed),
        Input::LocalCandidate(ONE, candidate("late")),
        Input::RelayLost(ONE, "late".into()),
        Input::AnswerApplied(ONE),
        Input::OfferFailed(ONE, "late".into()),
        Input::AnswerMade(ONE, SDP.into()),
        Input::AnswerFailed(ONE),
    ] {
        assert_eq!(story.tell(input.clone()), [], "{input:?}");
    }
    assert_eq!(story.session.live(), Some(TWO));
}
