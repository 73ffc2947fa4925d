//! Style sheet, scripts and icon: compiled into the binary, compressed once, and named by their content.

use std::{io::Write as _, sync::LazyLock};

use axum::{
    extract::Path,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static [u8],
}

const ASSETS: [Asset; 5] = [
    Asset { name: "console.css", media_type: "text/css", content: include_bytes!("assets/console.css") },
    Asset { name: "console.js", media_type: "text/javascript", content: include_bytes!("assets/console.js") },
    Asset { name: "htmx.js", media_type: "text/javascript", content: include_bytes!("assets/htmx-4.0.1.min.js") },
    Asset { name: "sse.js", media_type: "text/javascript", content: include_bytes!("assets/htmx-4.0.1-sse.min.js") },
    Asset { name: "icon.svg", media_type: "image/svg+xml", content: include_bytes!("assets/icon.svg") },
];

/// Eight digits of the hash of every asset, which stand in their addresses: an address never changes its content.
static STAMP: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    ASSETS.iter().for_each(|asset| hash.update(asset.content));
    hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
});

static COMPRESSED: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| ASSETS.iter().map(|asset| compress(asset.content, Compression::best())).collect());

/// Address of an asset.
pub(super) fn asset_address(name: &str) -> String {
    format!("/assets/{}/{name}", *STAMP)
}

/// `GET /assets/{stamp}/{name}`: the same for everybody, so that no session is asked for.
pub(super) async fn serve_asset(Path((_, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let found = ASSETS.iter().zip(COMPRESSED.iter()).find(|(asset, _)| asset.name == name);
    let Some((asset, compressed)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let fixed = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    match takes_gzip(&headers) {
        true => (fixed, GZIP, compressed.clone()).into_response(),
        false => (fixed, asset.content).into_response(),
    }
}

/// Headers of a compressed body.
pub(super) const GZIP: [(HeaderName, &str); 2] =
    [(header::CONTENT_ENCODING, "gzip"), (header::VARY, "accept-encoding")];

/// True if the client reads gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|encoding| encoding.split(';').next().is_some_and(|name| name.trim() == "gzip"))
}

/// A body, compressed in memory.
pub(super) fn compress(content: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The budget of a first visit: scripts and style sheet together leave room for a page within 60 kB.
    #[test]
    fn everything_beside_a_page_is_small() {
        let bytes: usize = COMPRESSED.iter().map(Vec::len).sum();
        assert!(bytes < 25_000, "{bytes} bytes");
    }

    /// The content security policy forbids both, and a page that needed them would break in the browser only.
    #[test]
    fn no_asset_names_another_host() {
        for asset in &ASSETS[..2] {
            let text = std::str::from_utf8(asset.content).unwrap();
            assert!(
                !text.contains("http://") && !text.contains("https://") && !text.contains("eval("),
                "{}",
                asset.name
            );
        }
    }
}
