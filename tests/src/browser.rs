//! A real browser, driven by WebDriver: Debian's chromium without a window, and its driver.

#![allow(clippy::expect_used, clippy::panic, reason = "a test whose browser does not do what it is told has failed")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use thirtyfour::{
    By, ChromiumLikeCapabilities as _, DesiredCapabilities, WebDriver, WebElement,
    extensions::query::ElementQueryable as _, stringmatch::StringMatch,
};

use crate::{
    error::StartError,
    find,
    port::Port,
    process::{Process, command},
    ready,
    scratch::Scratch,
};

const REMEDY: &str = "Debian: apt-get install chromium chromium-driver";
const START: Duration = Duration::from_secs(60);
/// How long an element may take to come; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);
const PERIOD: Duration = Duration::from_millis(50);

/// Nothing from elsewhere, nothing kept, no sandbox (tests run as root), no window.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
];

/// A browser with a profile of its own. It ends with this value.
#[derive(Debug)]
pub struct Browser {
    driver: WebDriver,
    _process: Process,
    _port: Port,
    _scratch: Scratch,
}

/// A size of the window and a theme, as a picture is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Width in CSS pixels.
    pub width: u32,
    /// `light` or `dark`, as the system says it.
    pub theme: &'static str,
}

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    /// [`StartError::Missing`] where the machine has none.
    pub async fn start() -> Result<Self, StartError> {
        let chromium = find::program("chromium", REMEDY)?;
        let driver = find::program("chromedriver", REMEDY)?;
        let scratch = Scratch::new("browser")?;
        let port = Port::reserve().map_err(StartError::setup("a free port"))?;
        let mut child = command(driver);
        child.arg(format!("--port={}", port.number())).env("HOME", scratch.path());
        let mut process = Process::spawn("chromedriver", child, scratch.path())?;
        let url = format!("http://{}", port.host());
        ready::until_http(&mut process, START, &format!("{url}/status"), |status| status.is_success()).await?;
        let driver = open(&url, &chromium, scratch.path()).await.map_err(std::io::Error::other);
        let driver = driver.map_err(StartError::setup("a session of the browser"))?;
        Ok(Self { driver, _process: process, _port: port, _scratch: scratch })
    }

    /// The session itself.
    pub fn driver(&self) -> &WebDriver {
        &self.driver
    }

    /// Goes to an address.
    pub async fn go(&self, url: &str) {
        self.driver.goto(url).await.expect("the browser goes there");
    }

    /// The first element that matches a CSS selector, once it is there.
    pub async fn find(&self, css: &str) -> WebElement {
        let found = self.driver.query(By::Css(css)).wait(PATIENCE, PERIOD).first().await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("{css}: {error}\n{}", self.text().await),
        }
    }

    /// Waits until the page's text holds some words.
    pub async fn wait_for_text(&self, css: &str, words: &str) {
        let found = self.driver.query(By::Css(css)).with_text(StringMatch::new(words).partial());
        if let Err(error) = found.wait(PATIENCE, PERIOD).first().await {
            panic!("{words} does not come in {css}: {error}\n{}", self.text().await);
        }
    }

    /// Types into a field.
    pub async fn enter(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.send_keys(text).await.expect("the field takes text");
    }

    /// Clicks.
    pub async fn click(&self, css: &str) {
        self.find(css).await.click().await.expect("it can be clicked");
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        let returned = self.driver.execute(script, Vec::new()).await.expect("the script runs");
        returned.json().clone()
    }

    /// What a script hands to its callback, which is its last argument.
    pub async fn run_async(&self, script: &str) -> Value {
        let returned = self.driver.execute_async(script, Vec::new()).await.expect("the script runs");
        returned.json().clone()
    }

    /// The text of the page, as a reader sees it.
    pub async fn text(&self) -> String {
        self.run("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Takes a look: the window's width, and the theme that the system has.
    pub async fn set_look(&self, look: Look) {
        let metrics =
            |height| json!({ "width": look.width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": look.theme }] });
        let tools = self.driver.cdp();
        tools.send_raw("Emulation.setEmulatedMedia", media).await.expect("the theme is taken");
        tools.send_raw("Emulation.setDeviceMetricsOverride", metrics(900)).await.expect("the width is taken");
        let height = self.run("return Math.ceil(document.documentElement.scrollHeight)").await.as_u64().unwrap_or(900);
        let metrics = metrics(height.clamp(700, 4000));
        tools.send_raw("Emulation.setDeviceMetricsOverride", metrics).await.expect("the height is taken");
    }

    /// Keeps a picture of the page, in a folder that Git ignores.
    pub async fn keep_picture(&self, name: &str) {
        let folder = pictures();
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        let picture = self.driver.screenshot_as_png().await.expect("a picture can be taken");
        std::fs::write(folder.join(format!("{name}.png")), picture).expect("the picture can be kept");
    }

    /// Ends the session; dropped without it, the browser is killed.
    pub async fn quit(self) {
        // The process is killed in any case.
        let _ = self.driver.clone().quit().await;
    }
}

/// Where pictures are kept.
fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/console")
}

async fn open(url: &str, chromium: &Path, folder: &Path) -> Result<WebDriver, thirtyfour::error::WebDriverError> {
    let mut capabilities = DesiredCapabilities::chrome();
    capabilities.set_binary(&chromium.display().to_string())?;
    for flag in FLAGS {
        capabilities.add_arg(flag)?;
    }
    capabilities.add_arg(&format!("--user-data-dir={}", folder.join("profile").display()))?;
    WebDriver::new(url, capabilities).await
}
