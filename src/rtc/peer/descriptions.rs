//! The descriptions that a peer and the server exchange.

use std::sync::Arc;
use std::time::Duration;

use rtc::peer_connection::configuration::RTCOfferOptions;
use webrtc::error::Error;
use webrtc::peer_connection::RTCSessionDescription;

use super::{Peer, configuration};
use crate::rtc::ice::candidates;
use crate::rtc::sections::{self, Setup};
use crate::rtc::track::VideoTrack;
use crate::signal::spider::CandidateInit;

/// How long a description that carries all candidates waits for them.
const GATHERING_TIMEOUT: Duration = Duration::from_secs(3);

impl Peer {
    /// Makes and sets the local offer. With `all_candidates` it waits for gathering, so that the SDP holds them all.
    pub(crate) async fn offer(&self, all_candidates: bool) -> Result<String, Error> {
        self.offer_with(RTCOfferOptions::default(), all_candidates).await
    }

    /// Makes an offer with new ICE credentials. Names are resolved anew, time-limited TURN credentials are made anew,
    /// and so are the sockets, on the addresses the machine has now.
    pub(crate) async fn restart_ice(&self, all_candidates: bool) -> Result<String, Error> {
        self.renew_servers().await?;
        self.offer_with(RTCOfferOptions { ice_restart: true }, all_candidates).await
    }

    /// For the sockets that the next ICE restart binds.
    async fn renew_servers(&self) -> Result<(), Error> {
        let servers = Arc::new(self.ice.servers.snapshot().await);
        self.connection.set_configuration(configuration(&servers, self.ice.policy)).await?;
        self.ice.runtime.set_servers(servers);
        Ok(())
    }

    async fn offer_with(&self, options: RTCOfferOptions, all_candidates: bool) -> Result<String, Error> {
        let offer = self.connection.create_offer(Some(options)).await?;
        self.gather(offer, all_candidates).await
    }

    /// Sets a local description whose candidates are yet to be found. Returns it as it may leave this machine, with them
    /// all or with none.
    async fn gather(&self, description: RTCSessionDescription, all_candidates: bool) -> Result<String, Error> {
        let gathered = self.gathered.notified();
        // What it holds at an ICE restart are the candidates of sockets that are about to go.
        let created = description.sdp.clone();
        self.connection.set_local_description(description).await?;
        if !all_candidates {
            return Ok(candidates::without_candidates(&created));
        }
        // Late candidates of a slow server are worth less than a description now.
        let _ = tokio::time::timeout(GATHERING_TIMEOUT, gathered).await;
        let complete = self.connection.local_description().await.map(|description| description.sdp);
        let complete = complete.map(|sdp| candidates::without_candidates_of(&sdp, &created));
        let sdp = complete.unwrap_or_else(|| candidates::without_candidates(&created));
        Ok(self.ice.policy.may_leave(sdp))
    }

    pub(crate) async fn apply_answer(&self, sdp: String) -> Result<(), Error> {
        let sdp = self.settled(sdp);
        self.ice.runtime.expect_traffic();
        let setup = Setup::after(&sdp);
        self.set_remote(RTCSessionDescription::answer(sdp)?).await?;
        self.setup.get_or_init(|| setup);
        self.tracks.iter().for_each(VideoTrack::note_renegotiated);
        Ok(())
    }

    /// Sets the server's offer and returns our answer; `None` for one that wants a picture again that an earlier one had
    /// ended, which only another connection can. When the offer restarts ICE, so does this end, as in
    /// [`Peer::restart_ice`]; `all_candidates` is as in [`Peer::offer`].
    pub(crate) async fn answer(&self, sdp: String, all_candidates: bool) -> Result<Option<String>, Error> {
        let sdp = self.settled(sdp);
        let inactive = sections::inactive(&sdp);
        if !self.tracks.iter().zip(&inactive).all(|(track, inactive)| track.takes_offer(*inactive)) {
            return Ok(None);
        }
        let known = self.connection.current_remote_description().await;
        let restarts =
            known.is_some_and(|known| sections::ice_credentials(&known.sdp) != sections::ice_credentials(&sdp));
        if restarts {
            self.renew_servers().await?;
            self.ice.runtime.expect_traffic();
        }
        self.set_remote(RTCSessionDescription::offer(sdp)?).await?;
        self.tracks.iter().zip(inactive).filter(|(_, inactive)| *inactive).for_each(|(track, _)| track.note_stopped());
        let answer = self.connection.create_answer(None).await?;
        let sdp = if restarts {
            self.gather(answer, all_candidates).await?
        } else {
            let sdp = answer.sdp.clone();
            self.connection.set_local_description(answer).await?;
            self.ice.policy.may_leave(sdp)
        };
        self.tracks.iter().for_each(VideoTrack::note_renegotiated);
        // The crate always writes `active`, and a browser refuses an answer that turns the parts round.
        Ok(Some(match self.setup.get() {
            Some(setup) => setup.written_into(&sdp),
            None => sdp,
        }))
    }

    async fn set_remote(&self, description: RTCSessionDescription) -> Result<(), Error> {
        let hidden: Vec<_> = candidates::mdns_candidates(&description.sdp).map(str::to_owned).collect();
        self.connection.set_remote_description(description).await?;
        for line in hidden {
            self.look_up(CandidateInit::for_bundle(&line)).await;
        }
        Ok(())
    }

    /// Notes which pictures the server takes. One picture alone needs nothing of it: without it there is no session.
    fn settled(&self, sdp: String) -> String {
        if self.tracks.len() == 1 {
            return sdp;
        }
        // The crate counts its sections' mids from 0.
        let mids: Vec<_> = (0..self.tracks.len()).map(|place| place.to_string()).collect();
        let (sdp, wanted) = sections::settle(&sdp, &mids.iter().map(String::as_str).collect::<Vec<_>>());
        self.tracks.iter().zip(wanted).for_each(|(track, wanted)| track.set_wanted(wanted));
        sdp
    }
}
