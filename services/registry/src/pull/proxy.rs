//! The operator's proxy, as the environment names it: which one a request goes through, for errors that name it.
//!
//! The HTTP client reads the same variables and leaves out what it cannot read; then a request would go elsewhere than the
//! operator meant. So a malformed variable is an error here.

use reqwest::Url;

/// Variables by the scheme that they are for; the first that is set counts, as in curl.
const VARIABLES: [(&str, [&str; 4]); 2] = [
    ("https", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
    ("http", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
];

/// A variable that names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is not the address of a proxy; write it as http://host:port")]
pub(crate) struct MalformedProxy {
    variable: &'static str,
}

/// Proxies by scheme, as `host:port (VARIABLE)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    by_scheme: Vec<(&'static str, String)>,
    exceptions: Vec<String>,
}

impl Proxies {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`MalformedProxy`].
    pub(crate) fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, MalformedProxy> {
        let given = |variable: &str| get(variable).filter(|value| !value.trim().is_empty());
        let mut by_scheme = Vec::new();
        for (scheme, variables) in VARIABLES {
            let found = variables.into_iter().find_map(|variable| Some((variable, given(variable)?)));
            if let Some((variable, address)) = found {
                let host = host_of(address.trim()).ok_or(MalformedProxy { variable })?;
                by_scheme.push((scheme, format!("{host} ({variable})")));
            }
        }
        let exceptions = given("NO_PROXY").or_else(|| given("no_proxy")).unwrap_or_default();
        let exceptions = exceptions.split(',').map(|part| part.trim().trim_start_matches('.').to_ascii_lowercase());
        Ok(Self { by_scheme, exceptions: exceptions.filter(|part| !part.is_empty()).collect() })
    }

    /// Of this process's environment.
    ///
    /// # Errors
    /// [`MalformedProxy`].
    pub(crate) fn from_env() -> Result<Self, MalformedProxy> {
        Self::from_variables(|variable| std::env::var(variable).ok())
    }

    /// The proxy that requests to an address go through.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<&str> {
        let host = url.host_str()?.to_ascii_lowercase();
        let excepted = |name: &String| {
            name == "*" || host == *name || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'))
        };
        if self.exceptions.iter().any(excepted) {
            return None;
        }
        self.by_scheme.iter().find(|(scheme, _)| *scheme == url.scheme()).map(|(_, proxy)| proxy.as_str())
    }
}

/// `host:port` of a proxy's address, which may come without a scheme, and never the login in it.
fn host_of(address: &str) -> Option<String> {
    let with_scheme = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let url = Url::parse(&with_scheme).ok()?;
    let known = matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h");
    let host = url.host_str().filter(|host| known && !host.is_empty())?;
    Some(url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Proxies, MalformedProxy> {
        Proxies::from_variables(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    /// Variables, the address that is asked, and the proxy.
    type Case<'c> = (&'c [(&'c str, &'c str)], &'c str, Option<&'c str>);

    #[test]
    fn which_proxy_a_request_goes_through() {
        let cases: [Case<'_>; 12] = [
            (&[], "https://a.b/v2/", None),
            (&[("HTTPS_PROXY", "http://p:3128")], "https://a.b/v2/", Some("p:3128 (HTTPS_PROXY)")),
            (&[("HTTPS_PROXY", "http://p:3128")], "http://a.b/v2/", None),
            (&[("https_proxy", "http://u:hunter2@p:3128")], "https://a.b/", Some("p:3128 (https_proxy)")),
            (&[("HTTP_PROXY", "p:3128")], "http://a.b/", Some("p:3128 (HTTP_PROXY)")),
            (&[("ALL_PROXY", "socks5://p:1080")], "https://a.b/", Some("p:1080 (ALL_PROXY)")),
            (&[("HTTPS_PROXY", ""), ("all_proxy", "http://p")], "https://a.b/", Some("p:80 (all_proxy)")),
            (&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "a.b")], "https://a.b/", None),
            (&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", ".b, c")], "https://a.b/", None),
            (&[("HTTPS_PROXY", "http://p:1"), ("no_proxy", "*")], "https://a.b/", None),
            (&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "b")], "https://ab/", Some("p:1 (HTTPS_PROXY)")),
            (&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "127.0.0.1")], "https://127.0.0.1:5000/", None),
        ];
        for (pairs, url, expected) in cases {
            let proxies = read(pairs).unwrap();
            assert_eq!(proxies.proxy_for(&Url::parse(url).unwrap()), expected, "{pairs:?} {url}");
        }
    }

    #[test]
    fn a_malformed_variable_is_named_and_not_repeated() {
        for (key, value) in [
            ("HTTPS_PROXY", "http://"),
            ("HTTPS_PROXY", "http://hunter2:port"),
            ("https_proxy", "ftp://hunter2"),
            ("HTTP_PROXY", "http://p:hunter2"),
            ("ALL_PROXY", "two words hunter2"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.starts_with(key) && !error.contains("hunter2"), "{error}");
        }
    }
}
