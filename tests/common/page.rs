//! The viewer page in a browser, at any address: what its user sees and does.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chromium::{Chromium, Page};

/// Keeps hold of the page's peer connections, for their statistics.
const WATCH_PEERS: &str = "window.peers = []; window.RTCPeerConnection = class extends RTCPeerConnection { \
     constructor(...given) { super(...given); this.madeAt = performance.now(); window.peers.push(this); \
     this.addEventListener('connectionstatechange', () => { if (this.connectionState === 'connected') \
     this.connectedAt ??= performance.now(); }); } };";

/// Notes when the first picture was shown.
const WATCH_PICTURE: &str = "addEventListener('DOMContentLoaded', () => { \
     document.querySelector('video')?.requestVideoFrameCallback(() => { window.firstPictureAt = performance.now(); }); });";

/// Opens the viewer page.
pub async fn open(browser: &mut Chromium, url: &str) -> Page {
    open_with(browser, url, &[]).await
}

/// The same, with these scripts run before its own.
pub async fn open_with(browser: &mut Chromium, url: &str, scripts: &[&str]) -> Page {
    let page = browser.open("about:blank", 1280, 720).await;
    for source in [&[WATCH_PEERS, WATCH_PICTURE], scripts].concat() {
        let params = serde_json::json!({"source": source});
        browser.page(&page, "Page.addScriptToEvaluateOnNewDocument", params).await;
    }
    browser.navigate(&page, url).await;
    page
}

/// Waits until the page says that its connection is in this state.
pub async fn says(browser: &mut Chromium, page: &Page, words: &str) {
    browser.wait_for(page, &format!("document.querySelector('#link-text').textContent.startsWith('{words}')")).await;
}

/// Waits until this element says this.
pub async fn shows(browser: &mut Chromium, page: &Page, id: &str, words: &str) {
    let condition = format!(
        "!document.querySelector('#{id}').closest('[hidden]') && document.querySelector('#{id}').textContent === '{words}'"
    );
    browser.wait_for(page, &condition).await;
}

/// Holds that pictures of this size are decoded, shown, and differ from one another.
pub async fn shows_moving_pictures(browser: &mut Chromium, page: &Page, width: u32, height: u32) {
    says(browser, page, "Live").await;
    let size = "[document.querySelector('video').videoWidth, document.querySelector('video').videoHeight]";
    assert_eq!(browser.evaluate(page, size).await, serde_json::json!([width, height]));
    let before = frames_decoded(browser, page).await;
    moves(browser, page, "video").await;
    browser
        .wait_for(
            page,
            &format!("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > {before}"),
        )
        .await;
    let after = frames_decoded(browser, page).await;
    assert!(after > before, "{before} pictures decoded, then {after}");
}

/// Holds that the pictures in the video with this selector differ from one another.
pub async fn moves(browser: &mut Chromium, page: &Page, selector: &str) {
    let difference = format!("({DIFFERENCE})(document.querySelector('{selector}'))");
    let difference = browser.evaluate(page, &difference).await.as_f64().expect("a number");
    assert!(difference > 0.5, "{selector} does not move: mean difference {difference}");
}

/// Mean difference of two pictures ten frames apart, 0 … 255 a channel.
const DIFFERENCE: &str = "async (video) => { \
     const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight); \
     const context = canvas.getContext('2d', { willReadFrequently: true }); \
     const grab = () => { context.drawImage(video, 0, 0); \
       return context.getImageData(0, 0, canvas.width, canvas.height).data; }; \
     const next = () => new Promise((resolve) => video.requestVideoFrameCallback(resolve)); \
     await next(); const one = grab(); for (let i = 0; i < 10; i++) await next(); const two = grab(); \
     let sum = 0; for (let i = 0; i < one.length; i++) sum += Math.abs(one[i] - two[i]); return sum / one.length; }";

pub async fn frames_decoded(browser: &mut Chromium, page: &Page) -> u64 {
    let script = "(async () => { const stats = [...(await window.peers.at(-1).getStats()).values()]; \
         return stats.find((report) => report.type === 'inbound-rtp' && report.kind === 'video').framesDecoded; })()";
    browser.evaluate(page, script).await.as_u64().expect("a count")
}

/// Milliseconds from the page's start, from the socket's being asked for the peer connection, and from its being up, to
/// the first picture.
pub async fn time_to_picture(browser: &mut Chromium, page: &Page) -> [f64; 3] {
    browser.wait_for(page, "window.firstPictureAt").await;
    let script =
        "[0, window.peers[0].madeAt, window.peers[0].connectedAt].map((since) => window.firstPictureAt - since)";
    let times = browser.evaluate(page, script).await;
    [0, 1, 2].map(|index| times[index].as_f64().expect("a number"))
}

/// What a person who listens to the page could not tell from other things: the roles of whatever can be used, or holds
/// others, and has no name.
pub async fn nameless(browser: &mut Chromium, page: &Page) -> Vec<String> {
    const NAMED: [&str; 8] = ["button", "slider", "textbox", "dialog", "Video", "image", "navigation", "complementary"];
    let tree = browser.page(page, "Accessibility.getFullAXTree", serde_json::json!({})).await;
    let nodes = tree["nodes"].as_array().expect("a list");
    let shown = nodes.iter().filter(|node| node["ignored"] == false);
    let named: Vec<_> =
        shown.filter(|node| node["role"]["value"].as_str().is_some_and(|role| NAMED.contains(&role))).collect();
    assert!(named.len() > 5, "the page has things to use: {named:?}");
    let nameless = named.iter().filter(|node| node["name"]["value"].as_str().is_none_or(str::is_empty));
    nameless.map(|node| node["role"].to_string()).collect()
}

pub async fn log(browser: &mut Chromium, page: &Page) -> Value {
    browser.evaluate(page, "document.querySelector('#log-lines').innerText").await
}

/// Keeps what the page shows beside the build.
pub async fn keep(browser: &mut Chromium, page: &Page, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots").join(format!("{name}.png"));
    browser.screenshot(page, &path).await;
    path
}
