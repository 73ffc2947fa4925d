//! A kubelet image credential provider: one request on standard input, one response on standard output.
//!
//! The protocol is `credentialprovider.kubelet.k8s.io/v1`
//! (<https://kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1/>). `WAYBILL_SOCKET` names the worker's
//! socket. A request with the token of the pod's service account (KEP-4412) is asked on that pod's behalf; one without, on
//! behalf of the access file that `WAYBILL_ACCESS_FILE` names.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use waybill_domain::{
    credentials::Secret,
    reference::{ImageReference, ReferenceError},
};
use waybill_registry::{
    core_dumps,
    node::{Answer, Client, ClientError, Code, Error as NodeError, GivenLogin, Request, ask, socket_from_env},
};
use zeroize::Zeroizing;

const API_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";
const REQUEST: &str = "CredentialProviderRequest";
const RESPONSE: &str = "CredentialProviderResponse";
/// Longest request, in bytes.
const MAX_INPUT: u64 = 1024 * 1024;
/// How long a login without an end is kept: a pod's containers start on one question, and a rotation is seen by the next
/// pull but one at most. Asking again costs a few milliseconds and no exchange.
const STATIC: Duration = Duration::MINUTE;
/// A login is not kept until its very end, so that a pull that starts with it can be done with it.
const MARGIN: Duration = Duration::MINUTE;

/// The user name under which Docker's tools keep an identity token.
const IDENTITY_TOKEN_USER: &str = "<token>";

/// A failure; `Display` begins with its code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("bad_request: the request is not JSON with apiVersion, kind and image")]
    NoRequest,
    #[error(
        "bad_request: apiVersion {0:?} is not spoken here; set apiVersion: {API_VERSION} in the kubelet's CredentialProviderConfig"
    )]
    ApiVersion(String),
    #[error("bad_request: kind {0:?} is not a {REQUEST}")]
    Kind(String),
    #[error("bad_request: image: {0}")]
    Image(#[from] ReferenceError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("io: cannot read or write: {}", .0.kind())]
    Io(#[from] io::Error),
}

/// A request, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    api_version: String,
    kind: String,
    #[serde(default)]
    image: String,
    service_account_token: Option<Secret>,
    #[serde(default)]
    service_account_annotations: BTreeMap<String, String>,
}

/// A response. The kubelet decodes it strictly: one member that the API does not have, and it drops the whole answer and
/// pulls as nobody.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    kind: &'static str,
    api_version: &'static str,
    cache_key_type: &'static str,
    cache_duration: String,
    auth: BTreeMap<String, Auth<'a>>,
}

#[derive(Serialize)]
struct Auth<'a> {
    username: &'a str,
    password: &'a str,
}

fn main() -> ExitCode {
    match core_dumps::forbid().map_err(Failure::Io).and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Who has closed its end is not told.
            let _ = writeln!(io::stderr().lock(), "waybill-credential-provider: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text)?;
    // The parser's own words may quote what it read.
    let asked: Asked = serde_json::from_str(&text).map_err(|_| Failure::NoRequest)?;
    if asked.api_version != API_VERSION {
        return Err(Failure::ApiVersion(asked.api_version));
    }
    if asked.kind != REQUEST {
        return Err(Failure::Kind(asked.kind));
    }
    let image = ImageReference::parse(&asked.image)?;
    let registry = spelled(&asked.image).to_owned();
    let given = ask_worker(&image, asked)?;
    let response = response(&registry, given.as_ref(), OffsetDateTime::now_utc());
    let text = Zeroizing::new(serde_json::to_string(&response).map_err(io::Error::from)?);
    Ok(writeln!(io::stdout().lock(), "{}", text.as_str())?)
}

/// The image's login; none where there are no credentials for its registry, or none for the pod.
fn ask_worker(image: &ImageReference, asked: Asked) -> Result<Option<GivenLogin>, Failure> {
    let (reference, get) = (image.to_string(), |key: &str| std::env::var_os(key));
    // A token says more than the file that all pods of the node share: whoever has one never speaks for all.
    let answer = match asked.service_account_token {
        Some(token) => {
            let annotations = asked.service_account_annotations;
            ask(&socket_from_env(get)?, &Request::Pod { token, annotations, image: reference })
        }
        None => Client::from_env(get)?.ask(|access| Request::Get { access, registry: None, image: Some(reference) }),
    };
    match answer {
        Ok(Answer::Login(given)) if given.username == IDENTITY_TOKEN_USER => {
            let words = "is an identity token, for which the kubelet has no place";
            let message = format!("the login for {} {words}", image.registry());
            Err(ClientError::from(NodeError { code: Code::NotExpressible, message }).into())
        }
        Ok(Answer::Login(given)) => Ok(Some(given)),
        Ok(_) => Err(ClientError::NotOurs(socket_from_env(get)?).into()),
        // Nobody is refused a public image for having no credentials: the kubelet pulls it as nobody.
        Err(ClientError::Refused(error)) if matches!(error.code, Code::NotFound | Code::NoRule) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The registry as the image names it: the kubelet looks for the image as it spells it, and our spelling of the host (one
/// name for Docker Hub, small letters) would not be found. A path is not needed, for the answer is kept for this image alone,
/// and a first part `v1` or `v2` would be taken away.
fn spelled(image: &str) -> &str {
    // As distribution's references tell a host from the first part of a path.
    let is_host =
        |first: &str| first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase);
    match image.split_once('/') {
        Some((first, _)) if is_host(first) => first,
        _ => "docker.io",
    }
}

fn response<'a>(registry: &str, given: Option<&'a GivenLogin>, now: OffsetDateTime) -> Response<'a> {
    let keep = given.map_or(Duration::ZERO, |given| keep(given.expires_at.map(|end| end.instant()), now));
    let auth = given.map(|given| {
        let auth = Auth { username: &given.username, password: given.password.expose() };
        (registry.to_owned(), auth)
    });
    Response {
        kind: RESPONSE,
        api_version: API_VERSION,
        // What a workspace's key or a rule gives depends on the whole image. Beside it the kubelet keeps the service account.
        cache_key_type: "Image",
        cache_duration: spell(keep),
        auth: auth.into_iter().collect(),
    }
}

/// How long the kubelet may keep a login.
fn keep(end: Option<OffsetDateTime>, now: OffsetDateTime) -> Duration {
    end.map_or(STATIC, |end| (end - now - MARGIN).max(Duration::ZERO))
}

/// As Go's `time.Duration` prints itself, in whole seconds.
fn spell(duration: Duration) -> String {
    let (hours, minutes, seconds) =
        (duration.whole_hours(), duration.whole_minutes() % 60, duration.whole_seconds() % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_kept_for_as_long_as_it_is_good() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let cases = [
            (None, "1m0s"),
            (Some(Duration::hours(12)), "11h59m0s"),
            (Some(Duration::seconds(12 * 3600 + 7)), "11h59m7s"),
            (Some(Duration::minutes(60)), "59m0s"),
            (Some(Duration::seconds(150)), "1m30s"),
            (Some(Duration::milliseconds(61_900)), "1s"),
            (Some(Duration::seconds(61)), "1s"),
            (Some(Duration::seconds(60)), "0s"),
            (Some(Duration::seconds(5)), "0s"),
            (Some(Duration::hours(-1)), "0s"),
        ];
        for (left, expected) in cases {
            assert_eq!(spell(keep(left.map(|left| now + left), now)), expected, "{left:?}");
        }
    }

    #[test]
    fn the_response_tells_the_true_end() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let end = Some((now + Duration::hours(2)).into());
        let given = GivenLogin {
            username: "AWS".to_owned(),
            password: "token".into(),
            expires_at: end,
            registry: "a.b".to_owned(),
        };
        let text = serde_json::to_string(&response("a.b:5000", Some(&given), now)).unwrap();
        let expected = concat!(
            r#"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","#,
            r#""cacheKeyType":"Image","cacheDuration":"1h59m0s","#,
            r#""auth":{"a.b:5000":{"username":"AWS","password":"token"}}}"#
        );
        assert_eq!(text, expected);
        let text = serde_json::to_string(&response("a.b", None, now)).unwrap();
        let expected = concat!(
            r#"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","#,
            r#""cacheKeyType":"Image","cacheDuration":"0s","auth":{}}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_registry_is_spelled_as_the_kubelet_does() {
        let cases = [
            ("a.b:5000/team/app:1", "a.b:5000"),
            ("registry-1.docker.io/team/app", "registry-1.docker.io"),
            ("docker.io/library/ubuntu", "docker.io"),
            ("Registry.Example.com/app", "Registry.Example.com"),
            ("Registry/app", "Registry"),
            ("a.b/v1/app", "a.b"),
            ("a.b/v2/app@sha256:e3b0", "a.b"),
            ("localhost/app", "localhost"),
            ("localhost:5000/app", "localhost:5000"),
            ("team/app", "docker.io"),
            ("ubuntu:22.04", "docker.io"),
        ];
        for (image, expected) in cases {
            assert_eq!(spelled(image), expected, "{image}");
        }
    }
}
