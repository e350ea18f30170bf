//! A real browser, headless, driven over the Chrome DevTools Protocol. Knows nothing of this program: it opens any
//! address.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{PATIENCE, within};

const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    // A page in a tab that is not in front is slowed down; several browsers run here without any front.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "about:blank",
];

/// One browser with its own profile; killed when dropped.
pub struct Chromium {
    socket: WebSocketStream<TcpStream>,
    next_id: u64,
    /// What pages have logged or thrown.
    pub console: Vec<String>,
    child: Child,
    _profile: tempfile::TempDir,
}

/// What `.ci/setup` takes for a browser.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// One page of a browser.
#[derive(Clone)]
pub struct Page {
    session: String,
    target: String,
}

impl Chromium {
    /// Starts one; fails, naming the package, when there is none.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        let start = |browser: &&str| {
            let mut command = Command::new(browser);
            command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display()));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().ok()
        };
        let mut child =
            BROWSERS.iter().find_map(start).unwrap_or_else(|| panic!("none of {BROWSERS:?} starts: .ci/setup test"));
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let endpoint = within("the browser's address", async {
            while let Some(line) = lines.next_line().await.expect("it is read") {
                if let Some(endpoint) = line.strip_prefix("DevTools listening on ") {
                    return endpoint.to_owned();
                }
            }
            panic!("chromium ended before it listened");
        })
        .await;
        // Drained, or the browser would block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

        let address = endpoint.trim_start_matches("ws://").split('/').next().expect("an address").to_owned();
        let tcp = TcpStream::connect(address).await.expect("the browser listens");
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let socket =
            tokio_tungstenite::client_async_with_config(endpoint, tcp, Some(config)).await.expect("it answers").0;
        Self { socket, next_id: 0, console: Vec::new(), child, _profile: profile }
    }

    /// Opens an address in a window of this size.
    pub async fn open(&mut self, url: &str, width: u32, height: u32) -> Page {
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"})).await;
        let target = target["targetId"].as_str().expect("an id").to_owned();
        let attached = self.call(None, "Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        let page = Page { session: attached["sessionId"].as_str().expect("an id").to_owned(), target };
        self.page(&page, "Runtime.enable", json!({})).await;
        self.page(&page, "Page.enable", json!({})).await;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.page(&page, "Emulation.setDeviceMetricsOverride", metrics).await;
        self.page(&page, "Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await;
        self.navigate(&page, url).await;
        page
    }

    pub async fn navigate(&mut self, page: &Page, url: &str) {
        let outcome = self.page(page, "Page.navigate", json!({"url": url})).await;
        assert!(outcome.get("errorText").is_none(), "{url}: {}", outcome["errorText"]);
    }

    /// Shows the page as a phone would: size, touch, pixel density.
    pub async fn become_phone(&mut self, page: &Page, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": true});
        self.page(page, "Emulation.setDeviceMetricsOverride", metrics).await;
        self.page(page, "Emulation.setTouchEmulationEnabled", json!({"enabled": true, "maxTouchPoints": 5})).await;
    }

    /// The value of a JavaScript expression; promises are awaited.
    pub async fn evaluate(&mut self, page: &Page, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let outcome = self.page(page, "Runtime.evaluate", params).await;
        assert!(outcome.get("exceptionDetails").is_none(), "{expression}: {outcome}");
        outcome["result"]["value"].clone()
    }

    /// Waits in the page until an expression is true.
    pub async fn wait_for(&mut self, page: &Page, condition: &str) {
        let limit = PATIENCE.as_millis();
        let script = format!(
            "new Promise((resolve) => {{ const start = performance.now(); const look = () => {{ \
             let met = false; try {{ met = Boolean({condition}); }} catch {{}} \
             if (met || performance.now() - start > {limit}) resolve(met); else setTimeout(look, 10); }}; look(); }})"
        );
        let met = tokio::time::timeout(PATIENCE + Duration::from_secs(5), self.evaluate(page, &script)).await;
        if met != Ok(Value::Bool(true)) {
            let text = self.evaluate(page, "document.body.innerText").await;
            panic!("{condition} did not become true; the page says {text}; console: {:#?}", self.console);
        }
    }

    pub async fn key_down(&mut self, page: &Page, code: &str) {
        self.key(page, "keyDown", code).await;
    }

    pub async fn key_up(&mut self, page: &Page, code: &str) {
        self.key(page, "keyUp", code).await;
    }

    async fn key(&mut self, page: &Page, kind: &str, code: &str) {
        let key = code.strip_prefix("Key").map(str::to_lowercase);
        let key = key.unwrap_or_else(|| if code == "Space" { " ".to_owned() } else { code.to_owned() });
        self.page(page, "Input.dispatchKeyEvent", json!({"type": kind, "code": code, "key": key})).await;
    }

    /// Clicks the middle of an element.
    pub async fn click(&mut self, page: &Page, selector: &str) {
        let (x, y) = self.middle_of(page, selector).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1});
            self.page(page, "Input.dispatchMouseEvent", event).await;
        }
    }

    /// One touch event with these fingers down (`touchStart`, `touchMove`, `touchEnd`).
    pub async fn touch(&mut self, page: &Page, kind: &str, fingers: &[(f64, f64)]) {
        let points: Vec<_> = fingers.iter().enumerate().map(|(id, (x, y))| json!({"x": x, "y": y, "id": id})).collect();
        self.page(page, "Input.dispatchTouchEvent", json!({"type": kind, "touchPoints": points})).await;
    }

    pub async fn middle_of(&mut self, page: &Page, selector: &str) -> (f64, f64) {
        let script = format!(
            "(() => {{ const box = document.querySelector('{selector}').getBoundingClientRect(); \
             return [box.left + box.width / 2, box.top + box.height / 2]; }})()"
        );
        let middle = self.evaluate(page, &script).await;
        (middle[0].as_f64().expect("a number"), middle[1].as_f64().expect("a number"))
    }

    /// Writes what the page shows as PNG.
    pub async fn screenshot(&mut self, page: &Page, path: &Path) {
        let shot = self.page(page, "Page.captureScreenshot", json!({"format": "png"})).await;
        let png = base64(shot["data"].as_str().expect("data"));
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("it is made");
        std::fs::write(path, png).expect("it is written");
    }

    /// Closes the page as its user would.
    pub async fn close(&mut self, page: &Page) {
        self.call(None, "Target.closeTarget", json!({"targetId": page.target})).await;
    }

    /// Kills the browser: no page hears of it.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is killed");
    }

    /// Calls a method of this page's domain.
    pub async fn page(&mut self, page: &Page, method: &str, params: Value) -> Value {
        self.call(Some(&page.session), method, params).await
    }

    async fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let mut request = HashMap::from([("id", json!(id)), ("method", json!(method)), ("params", params)]);
        if let Some(session) = session {
            request.insert("sessionId", json!(session));
        }
        let request = serde_json::to_string(&request).expect("JSON");
        self.socket.send(Message::text(request)).await.expect("the browser lives");
        loop {
            let Some(Ok(message)) = self.socket.next().await else { panic!("the browser ended during {method}") };
            let Message::Text(text) = message else { continue };
            let reply: Value = serde_json::from_str(&text).expect("JSON");
            if reply["id"] == json!(id) {
                assert!(reply.get("error").is_none(), "{method}: {}", reply["error"]);
                return reply["result"].clone();
            }
            if matches!(reply["method"].as_str(), Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown")) {
                self.console.push(reply["params"].to_string());
            }
        }
    }
}

fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let sextets: Vec<u32> = text.bytes().filter_map(value).map(u32::from).collect();
    let bytes = sextets.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, sextet| bits << 6 | sextet) << (6 * (4 - group.len()));
        let octets = bits.to_be_bytes();
        octets[1..group.len()].to_vec()
    });
    bytes.collect()
}
