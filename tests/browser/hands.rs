//! The driver's hands on the page: every key, the gamepad, what lets go of them, and a stop that must arrive.

use super::*;

/// A gamepad that the test holds: `pad` in the page.
const PLUG_IN: &str = "window.pad = { connected: true, mapping: 'standard', axes: [0, 0, 0, 0], \
     buttons: Array.from({ length: 17 }, () => ({ value: 0, pressed: false })) }; \
     navigator.getGamepads = () => [window.pad]; dispatchEvent(new Event('gamepadconnected'))";
/// The page has looked at its gamepads since: once a frame, before or after who else waits for one.
const SOME_FRAMES: &str =
    "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))";
const LATCHED: &str = r#"{"drive":{"key":"state","value":"latched","cause":"estop"}}"#;
const PARKED: &str = r#"{"drive":{"key":"state","value":"parked","cause":"estop"}}"#;

fn moves(command: &Command) -> bool {
    command.is_throttle() && command.value > 0.0
}

fn stands(command: &Command) -> bool {
    command.is_throttle() && command.value == 0.0
}

/// Holds that for so long nothing comes that this forbids.
async fn never(publisher: &mut Publisher, forbidden: impl Fn(&Command) -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_millis(600);
    while let Ok(text) = tokio::time::timeout_at(end, publisher.command()).await {
        let command = Command::parse(&text);
        assert!(!forbidden(&command), "{command:?}");
    }
}

async fn do_in(browser: &mut Chromium, page: &Page, script: &str) {
    browser.evaluate(page, &format!("(async () => {{ {script} }})()")).await;
}

/// Pulls or lets go of the right trigger, and waits until the page has seen it.
async fn trigger(browser: &mut Chromium, page: &Page, value: f64) {
    do_in(browser, page, &format!("pad.buttons[7].value = {value}; await {SOME_FRAMES};")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_that_drives_does_what_it_says() {
    let (hub, mut publisher, mut browser, page) = driving().await;
    let keys = [
        ("KeyW", "forward", 10.0),
        ("ArrowUp", "forward", 10.0),
        ("KeyS", "back", 10.0),
        ("ArrowDown", "back", 10.0),
        ("KeyA", "left", 20.0),
        ("ArrowLeft", "left", 20.0),
        ("KeyD", "right", 20.0),
        ("ArrowRight", "right", 20.0),
    ];
    for (code, key, value) in keys {
        browser.key_down(&page, code).await;
        next(&mut publisher, |command| command.is("motion", key) && command.value == value).await;
        browser.key_up(&page, code).await;
        next(&mut publisher, |command| command.topic == "motion" && command.value == 0.0).await;
    }
    // The slider counts for what is held already.
    browser.key_down(&page, "KeyW").await;
    next(&mut publisher, moves).await;
    let lower = "const range = document.querySelector('#power-range'); range.value = 20; \
         range.dispatchEvent(new Event('input'));";
    do_in(&mut browser, &page, lower).await;
    next(&mut publisher, |command| command.is("motion", "forward") && command.value == 4.0).await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_may_swallow_a_keys_release_lets_go_of_it() {
    let (hub, mut publisher, mut browser, page) = driving().await;
    let swallows = [
        "dispatchEvent(new Event('blur'))",
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true }); \
         document.dispatchEvent(new Event('visibilitychange')); delete document.hidden",
        // macOS tells of no key that comes up while Command is down.
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'Meta', code: 'MetaLeft', metaKey: true, \
         bubbles: true }))",
        // Firefox's menu bar takes the keyboard, and no focus.
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'Alt', code: 'AltLeft', altKey: true, \
         bubbles: true }))",
        // So does a context menu.
        "document.body.dispatchEvent(new Event('contextmenu', { bubbles: true, cancelable: true }))",
    ];
    for swallow in swallows {
        browser.key_down(&page, "KeyW").await;
        next(&mut publisher, moves).await;
        do_in(&mut browser, &page, swallow).await;
        next(&mut publisher, stands).await;
        never(&mut publisher, moves).await;
        browser.key_up(&page, "KeyW").await;
    }
    browser.key_down(&page, "KeyW").await;
    next(&mut publisher, moves).await;
    // Space beside Command still stops.
    let space =
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { code: 'Space', metaKey: true, bubbles: true }))";
    do_in(&mut browser, &page, space).await;
    next(&mut publisher, |command| command.is("estop", "latch")).await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gamepad_drives_and_what_is_held_when_it_must_stop_has_to_be_let_go_of() {
    let (hub, mut publisher, mut browser, page) = driving().await;
    browser.evaluate(&page, PLUG_IN).await;
    trigger(&mut browser, &page, 1.0).await;
    next(&mut publisher, |command| command.is("motion", "forward") && command.value == 10.0).await;
    do_in(&mut browser, &page, "pad.axes[0] = 1").await;
    next(&mut publisher, |command| command.is("motion", "right") && command.value == 20.0).await;

    do_in(&mut browser, &page, "dispatchEvent(new Event('blur'))").await;
    next(&mut publisher, stands).await;
    never(&mut publisher, |command| command.topic == "motion" && command.value > 0.0).await;
    trigger(&mut browser, &page, 0.0).await;
    trigger(&mut browser, &page, 1.0).await;
    next(&mut publisher, moves).await;

    do_in(&mut browser, &page, "pad.buttons[1].pressed = true").await;
    next(&mut publisher, |command| command.is("estop", "latch")).await;
    publisher.send_metric(LATCHED).await;
    page::shows(&mut browser, &page, "drive-state", "Emergency stop").await;
    do_in(&mut browser, &page, "pad.buttons[1].pressed = false").await;
    browser.click(&page, "#clear").await;
    next(&mut publisher, |command| command.is("estop", "clear")).await;
    publisher.send_metric(PARKED).await;
    page::shows(&mut browser, &page, "drive-state", "Parked").await;
    never(&mut publisher, moves).await;
    trigger(&mut browser, &page, 0.0).await;
    trigger(&mut browser, &page, 1.0).await;
    next(&mut publisher, moves).await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gamepad_whose_axes_nobody_knows_does_not_drive() {
    let (hub, mut publisher, mut browser, page) = driving().await;
    let unknown = format!("{PLUG_IN}; pad.mapping = ''; pad.axes = [0, 0, 0, -1]; await {SOME_FRAMES};");
    do_in(&mut browser, &page, &unknown).await;
    never(&mut publisher, moves).await;
    browser.key_down(&page, "KeyW").await;
    next(&mut publisher, moves).await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_stop_without_a_connection_is_sent_when_there_is_one_and_until_the_car_confirms_it() {
    let (hub, publisher, mut browser, page) = driving().await;
    let addresses = both_go_away(hub, publisher, &mut browser, &page).await;
    browser.key_down(&page, "Space").await;
    page::shows(&mut browser, &page, "drive-state", "Emergency stop").await;
    page::shows(&mut browser, &page, "drive-cause", "It is sent as soon as there is a connection").await;

    let (hub, mut publisher) = both_come_back(addresses).await;
    for _ in 0..3 {
        within("the stop", next(&mut publisher, |command| command.is("estop", "latch"))).await;
        publisher.send_metric(PARKED).await;
    }
    page::shows(&mut browser, &page, "drive-cause", "The car has not confirmed it yet").await;
    publisher.send_metric(LATCHED).await;
    page::shows(&mut browser, &page, "drive-cause", "").await;
    // What was on its way meanwhile.
    tokio::time::sleep(Duration::from_millis(500)).await;
    publisher.waiting_commands();
    never(&mut publisher, |command| command.topic == "estop").await;
    publisher.send_metric(PARKED).await;
    page::shows(&mut browser, &page, "drive-state", "Parked").await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_held_while_the_hub_is_away_must_be_pressed_anew() {
    let (hub, mut publisher, mut browser, page) = driving().await;
    browser.key_down(&page, "KeyW").await;
    next(&mut publisher, moves).await;
    let addresses = both_go_away(hub, publisher, &mut browser, &page).await;
    let (hub, mut publisher) = both_come_back(addresses).await;
    // The car is told that nothing is held, by numbers above those of a hub that stopped it in the driver's name.
    let neutral = within("neutral", next(&mut publisher, stands)).await;
    assert!(neutral.seq > Some(2), "{neutral:?}");
    page::shows(&mut browser, &page, "wheel-text", "You drive").await;
    browser.key_down(&page, "KeyA").await;
    next(&mut publisher, |command| command.is("motion", "left") && command.value == 20.0).await;
    never(&mut publisher, moves).await;
    browser.key_up(&page, "KeyW").await;
    browser.key_down(&page, "KeyW").await;
    next(&mut publisher, moves).await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_can_be_cleared_when_nobody_holds_the_wheel() {
    let (hub, mut publisher, mut browser, page) = driving().await;
    browser.key_down(&page, "Space").await;
    next(&mut publisher, |command| command.is("estop", "latch")).await;
    publisher.send_metric(LATCHED).await;
    browser.click(&page, "#wheel-button").await;
    page::shows(&mut browser, &page, "wheel-text", "The wheel is free").await;
    browser.click(&page, "#clear").await;
    next(&mut publisher, |command| command.is("estop", "clear")).await;
    page::shows(&mut browser, &page, "wheel-text", "You drive").await;
    publisher.stop().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_asked_for_is_asked_for_once() {
    let hub = TestHub::start_with(|config| config.viewer_token = Some(Secret::new("schlüssel"))).await;
    let mut browser = Chromium::start().await;
    let count = "window.asked = 0; window.fetch = new Proxy(window.fetch, { apply(target, self, given) { \
         window.asked += 1; return Reflect.apply(target, self, given); } });";
    let tries = "window.tries = 0; window.WebSocket = class extends WebSocket { \
         constructor(...given) { super(...given); window.tries += 1; } };";
    let page = page::open_with(&mut browser, &format!("{}?channel={CHANNEL}", hub.page()), &[count, tries]).await;
    browser.wait_for(&page, "document.querySelector('#token-dialog').open && window.tries >= 5").await;
    let asked = browser.evaluate(&page, "window.asked").await.as_u64().expect("a count");
    assert!(asked <= 2, "the list of cars was asked for {asked} times behind the dialog");
    hub.stop().await;
}
