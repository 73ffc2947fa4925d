//! What a request's path asks for.

/// The kinds of request that the in-process registry tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v2/`: is this a registry, and may I come in?
    Ping,
    /// `/token`.
    Token,
    /// `/v2/<repository>/manifests/<tag or digest>`.
    Manifest,
    /// `/v2/<repository>/blobs/<digest>`.
    Blob,
    /// Anything else.
    Other,
}

/// A path taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    pub(super) repository: Option<String>,
    /// A tag or a digest; empty for endpoints without one.
    pub(super) name: String,
}

impl Target {
    pub(super) fn parse(path: &str) -> Self {
        let bare = |endpoint| Self { endpoint, repository: None, name: String::new() };
        match path {
            "/v2" | "/v2/" => bare(Endpoint::Ping),
            "/token" => bare(Endpoint::Token),
            _ => Self::below(path).unwrap_or_else(|| bare(Endpoint::Other)),
        }
    }

    fn below(path: &str) -> Option<Self> {
        let (rest, name) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
        let (repository, kind) = rest.rsplit_once('/')?;
        let endpoint = match kind {
            "manifests" => Endpoint::Manifest,
            "blobs" => Endpoint::Blob,
            _ => return None,
        };
        Some(Self { endpoint, repository: Some(repository.to_owned()), name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let cases = [
            ("/v2/", Endpoint::Ping, None, ""),
            ("/v2", Endpoint::Ping, None, ""),
            ("/token", Endpoint::Token, None, ""),
            ("/v2/app/manifests/1.0", Endpoint::Manifest, Some("app"), "1.0"),
            ("/v2/team/blobs/blobs/sha256:ab", Endpoint::Blob, Some("team/blobs"), "sha256:ab"),
            ("/v2/team/app/tags/list", Endpoint::Other, None, ""),
            ("/v2/manifests/1.0", Endpoint::Other, None, ""),
            ("/", Endpoint::Other, None, ""),
        ];
        for (path, endpoint, repository, name) in cases {
            let expected = Target { endpoint, repository: repository.map(str::to_owned), name: name.to_owned() };
            assert_eq!(Target::parse(path), expected, "{path}");
        }
    }
}
