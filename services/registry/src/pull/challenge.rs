//! How a registry asks for a login, and where it may have one sent (RFC 7235; distribution's "Token Authentication").

use http_auth::ChallengeParser;
use reqwest::{
    Url,
    header::{HeaderMap, WWW_AUTHENTICATE},
};
use waybill_domain::reference::RegistryHost;

use super::place::{Unfit, fit};

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Nothing that could be given.
    None,
    /// User name and password with each request.
    Basic,
    /// A token, issued by this service.
    Bearer { realm: String, service: Option<String> },
}

/// The challenge in the values of `WWW-Authenticate`; a token goes before a password.
fn challenge<'h>(values: impl IntoIterator<Item = &'h str>) -> Challenge {
    let mut found = Challenge::None;
    let parse = |value: &'h str| ChallengeParser::new(value).map_while(Result::ok);
    for parsed in values.into_iter().flat_map(parse) {
        let param = |name: &str| {
            let param = parsed.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            param.map(|(_, value)| value.to_unescaped())
        };
        if parsed.scheme.eq_ignore_ascii_case("bearer") {
            if let Some(realm) = param("realm") {
                return Challenge::Bearer { realm, service: param("service") };
            }
        } else if parsed.scheme.eq_ignore_ascii_case("basic") {
            found = Challenge::Basic;
        }
    }
    found
}

/// The challenge in an answer's headers.
pub(super) fn of(headers: &HeaderMap) -> Challenge {
    challenge(headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()))
}

/// The address of a token service that may be sent the login.
///
/// The registry itself names it, and often it is another host (`auth.docker.io` for Docker Hub): asking it is how one logs in
/// there. But it gets a password over TLS only, unless its host is one that is spoken to by plain HTTP.
pub(super) fn token_service(realm: &str, plain_http: &[RegistryHost]) -> Result<Url, Unfit> {
    let url = Url::parse(realm).map_err(|_| Unfit::NoAddress)?;
    fit(&url, plain_http).map(|()| url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        };
        let cases: Vec<(&[&str], Challenge)> = vec![
            (&[], Challenge::None),
            (&["Basic realm=\"r\""], Challenge::Basic),
            (&["basic"], Challenge::Basic),
            (&["Bearer realm=\"https://a/t\",service=\"s\",scope=\"x\""], bearer("https://a/t", Some("s"))),
            (&["BEARER REALM=\"https://a/t\""], bearer("https://a/t", None)),
            (&["Basic realm=\"r\", Bearer realm=\"https://a/t\""], bearer("https://a/t", None)),
            (&["Basic realm=\"r\"", "Bearer realm=\"https://a/t\""], bearer("https://a/t", None)),
            (&["Bearer service=\"s\""], Challenge::None),
            (&["Bearer service=\"s\"", "Basic realm=\"r\""], Challenge::Basic),
            (&["Negotiate"], Challenge::None),
            (&["Negotiate, Basic realm=\"r\""], Challenge::Basic),
            (&["Negotiate dG9rZW4=", "Bearer realm=\"https://a/t\""], bearer("https://a/t", None)),
            (&["Basic realm=\"Bearer realm=x, y\""], Challenge::Basic),
            (
                &["Bearer realm=\"https://a/t?x=1,2\",service=\"a, b\",scope=\"repository:x:pull,push\""],
                bearer("https://a/t?x=1,2", Some("a, b")),
            ),
            (
                &["Bearer scope=\"repository:x:pull,push\", realm=\"https://a/t\" , Basic realm=\"a, b\""],
                bearer("https://a/t", None),
            ),
            (&["Bearer realm=\"https://a/t\",service=\"a \\\"b\\\"\""], bearer("https://a/t", Some("a \"b\""))),
            (&["Bearer error=\"invalid_token\", Bearer realm=\"https://a/t\""], bearer("https://a/t", None)),
            (&["Bearer realm=\"https://a/t\", Bearer realm=\"https://b/t\""], bearer("https://a/t", None)),
            (&["Bearer realm=\"broken", "Bearer realm=\"https://b/t\""], bearer("https://b/t", None)),
            (&["\u{1}=,,\"", ""], Challenge::None),
        ];
        for (values, expected) in cases {
            assert_eq!(challenge(values.iter().copied()), expected, "{values:?}");
        }
    }

    #[test]
    fn who_may_be_sent_a_login() {
        let plain = ["localhost:5000", "a.b", "[::1]:5000"].map(|host| RegistryHost::parse(host).unwrap());
        let cases = [
            ("https://auth.docker.io/token", true),
            ("https://registry.example:8443/token?x=y", true),
            ("http://localhost:5000/token", true),
            ("http://[::1]:5000/token", true),
            ("http://a.b/token", true),
            ("http://a.b:81/token", false),
            ("http://localhost:5001/token", false),
            ("http://localhost.evil.example:5000/token", false),
            ("http://auth.docker.io/token", false),
            ("https://user:password@a.b/token", false),
            ("file:///etc/passwd", false),
            ("/token", false),
            ("", false),
        ];
        for (realm, allowed) in cases {
            assert_eq!(token_service(realm, &plain).is_ok(), allowed, "{realm}");
        }
    }
}
