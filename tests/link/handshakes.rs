//! The DTLS handshake over a wire that loses one of its datagrams.

use std::time::Duration;

use crate::connecting::{Answerer, DATAGRAMS, connect};
use crate::lab::ONE_AT_A_TIME;
use crate::lab::wire::{Loss, Towards};

const ROUND_TRIP: Duration = Duration::from_millis(10);
/// The library by itself repeats nothing sooner than this, and sometimes nothing at all.
const LIBRARYS_OWN: Duration = Duration::from_secs(1);
/// And without anything being lost it begins some of its steps only with ICE's next timer, 200 ms later: two at least.
const LIBRARYS_TICKS: Duration = Duration::from_millis(400);
/// A machine that is busy elsewhere may miss the time now and then.
const TRIES: usize = 5;

async fn is_soon_sent_again(answerer: Answerer, towards: Towards, number: usize) {
    let mut taken = Vec::new();
    for _ in 0..TRIES {
        taken.push(connect(answerer, ROUND_TRIP, Loss::OfHandshake(towards, number)).await);
        if taken.iter().flatten().any(|taken| *taken < LIBRARYS_OWN) {
            return;
        }
    }
    panic!("{answerer:?}: without datagram {number} {towards:?}: {taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_the_hub_waits_for_no_tick() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut taken = Vec::new();
    for _ in 0..TRIES {
        taken.push(connect(Answerer::Hub, ROUND_TRIP, Loss::None).await.expect("nothing is lost"));
    }
    assert!(taken.iter().any(|taken| *taken < LIBRARYS_TICKS), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_handshake_with_the_hub_loses_is_soon_sent_again() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for towards in [Towards::Near, Towards::Far] {
        for number in 0..DATAGRAMS {
            is_soon_sent_again(Answerer::Hub, towards, number).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_of_the_publishers_is_lost_is_soon_sent_again_whoever_has_the_first_word() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for answerer in [Answerer::Client, Answerer::Server] {
        for number in 0..DATAGRAMS {
            is_soon_sent_again(answerer, Towards::Far, number).await;
        }
    }
}
