//! How a registry asks for a login, and where it may have one sent (RFC 9110, section 11; distribution's "Token
//! Authentication").
//!
//! Registries write the header by hand, and clients are tolerant: so is this reader. What it cannot read of one challenge
//! hides neither the rest of it nor the next.

use reqwest::{
    Url,
    header::{HeaderMap, WWW_AUTHENTICATE},
};
use waybill_domain::reference::RegistryHost;

use super::guard::{Unfit, check_address};
use crate::words;

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token for the scope, issued by this service.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// User name and password with each request.
    Basic,
}

/// All that a registry wants to see one of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Challenges {
    /// Those that can be answered; tokens go before passwords.
    pub(super) usable: Vec<Challenge>,
    /// Schemes of the others.
    pub(super) others: Vec<String>,
}

impl Challenges {
    /// The challenges in an answer's headers.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        Self::from_values(values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()))
    }

    fn from_values(values: impl IntoIterator<Item = String>) -> Self {
        let (mut tokens, mut passwords, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for parsed in values.into_iter().flat_map(|value| parse_header(&value)) {
            let param = |name: &str| {
                let found = parsed.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
            };
            if parsed.has_scheme("bearer")
                && let Some(realm) = param("realm")
            {
                tokens.push(Challenge::Bearer { realm, service: param("service"), scope: param("scope") });
            } else if parsed.has_scheme("basic") {
                passwords.push(Challenge::Basic);
            } else if let Some(scheme) = words::read_code(&parsed.scheme) {
                others.push(scheme.to_owned());
            }
        }
        passwords.truncate(1);
        tokens.append(&mut passwords);
        Self { usable: tokens, others }
    }

    /// True if the registry asks for nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.usable.is_empty() && self.others.is_empty()
    }
}

/// One challenge as it stands there.
struct Parsed {
    scheme: String,
    params: Vec<(String, String)>,
}

impl Parsed {
    fn has_scheme(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }
}

/// The challenges in one header. A word is a parameter if `=` follows it, and else a scheme.
fn parse_header(text: &str) -> Vec<Parsed> {
    let mut found: Vec<Parsed> = Vec::new();
    let mut rest = text;
    // Nothing but blanks since the scheme.
    let mut is_after_scheme = false;
    loop {
        let next = rest.trim_start_matches([' ', '\t', ',', ';']);
        is_after_scheme &= !rest.strip_suffix(next).unwrap_or_default().contains([',', ';']);
        let (word, after) = next.split_at(next.find([' ', '\t', ',', ';', '=', '"']).unwrap_or(next.len()));
        if word.is_empty() {
            let mut letters = next.chars();
            if letters.next().is_none() {
                return found;
            }
            rest = letters.as_str();
            continue;
        }
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        let of_other_scheme = found.last().is_some_and(|last| !last.has_scheme("basic") && !last.has_scheme("bearer"));
        if is_after_scheme && of_other_scheme && ends_as_token68(after) {
            rest = after.trim_start_matches('=');
            is_after_scheme = false;
        } else if let Some(value) = value {
            let (value, after) = read_value(value.trim_start_matches([' ', '\t']));
            if let Some(last) = found.last_mut() {
                last.params.push((word.to_owned(), value));
            }
            rest = after;
            is_after_scheme = false;
        } else {
            found.push(Parsed { scheme: word.to_owned(), params: Vec::new() });
            rest = after;
            is_after_scheme = true;
        }
    }
}

/// True if only padding stands before the end of the challenge (RFC 9110, section 11.2).
fn ends_as_token68(after: &str) -> bool {
    let after = after.trim_start_matches('=').trim_start_matches([' ', '\t']);
    after.is_empty() || after.starts_with([',', ';'])
}

/// A value in double quotes, in single quotes, or in none, and what follows it.
fn read_value(text: &str) -> (String, &str) {
    if let Some(quoted) = text.strip_prefix('"')
        && let Some((value, after)) = read_quoted(quoted)
    {
        return (value, after);
    }
    if let Some((value, after)) = text.strip_prefix('\'').and_then(|quoted| quoted.split_once('\'')) {
        return (value.to_owned(), after);
    }
    let (value, after) = text.split_at(text.find([' ', '\t', ',', ';']).unwrap_or(text.len()));
    (value.trim_matches(['"', '\'']).to_owned(), after)
}

/// Up to the closing quote; none where there is no such.
fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Some((value, letters.as_str())),
            '\\' => value.push(letters.next()?),
            letter => value.push(letter),
        }
    }
    None
}

/// The address of a token service that may be sent the login.
///
/// The registry itself names it, and often it is another host (`auth.docker.io` for Docker Hub): asking it is how one logs in
/// there. But it gets a password over TLS only, unless its host is one that is spoken to by plain HTTP.
pub(super) fn token_service(realm: &str, plain_http: &[RegistryHost]) -> Result<Url, Unfit> {
    let url = Url::parse(realm).map_err(|_| Unfit::NoAddress)?;
    check_address(&url, plain_http).map(|()| url)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Basic`, `Bearer realm [service] [scope]` and the names of others, in order.
    fn in_words(values: &[&str]) -> String {
        let Challenges { usable, others } = Challenges::from_values(values.iter().map(|value| (*value).to_owned()));
        let usable = usable.into_iter().map(|challenge| match challenge {
            Challenge::Basic => "Basic".to_owned(),
            Challenge::Bearer { realm, service, scope } => {
                let rest = [service, scope].into_iter().map(|part| part.unwrap_or_else(|| "-".to_owned()));
                format!("Bearer {realm} {}", rest.collect::<Vec<_>>().join(" "))
            }
        });
        usable.chain(others.into_iter().map(|other| format!("?{other}"))).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn challenges_as_registries_write_them() {
        let one: [(&str, &str); 46] = [
            ("", ""),
            ("Basic realm=\"r\"", "Basic"),
            ("basic", "Basic"),
            ("Basic", "Basic"),
            ("Basic realm=/", "Basic"),
            ("Basic realm='Team API'", "Basic"),
            ("Basic realm=", "Basic"),
            ("Basic realm=\"\"", "Basic"),
            ("Basic realm=\"r\", charset=\"UTF-8\"", "Basic"),
            ("Basic realm=Registry Realm", "Basic | ?Realm"),
            ("Basic realm=\"Größe\u{fffd}\"", "Basic"),
            ("BASIC REALM=\"r\"", "Basic"),
            (
                "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull\"",
                "Bearer https://a/t s repository:x:pull",
            ),
            ("BEARER REALM=\"https://a/t\"", "Bearer https://a/t - -"),
            ("Bearer realm=https://a/t,service=s", "Bearer https://a/t s -"),
            ("Bearer realm=https://a/t?x=1&y=2, service=s", "Bearer https://a/t?x=1&y=2 s -"),
            ("Bearer realm='https://a/t',service='s'", "Bearer https://a/t s -"),
            ("Bearer realm=\"https://a/t\"; service=\"s\"", "Bearer https://a/t s -"),
            ("Bearer realm=\"https://a/t\" service=\"s\"", "Bearer https://a/t s -"),
            ("Bearer  realm = \"https://a/t\" ,\tservice = \"s\"", "Bearer https://a/t s -"),
            ("Bearer,realm=\"https://a/t\"", "Bearer https://a/t - -"),
            ("Bearer realm=\"https://a/t\",service=registry.example.com", "Bearer https://a/t registry.example.com -"),
            ("Bearer realm=\"https://a/t\",service=\"a, b\"", "Bearer https://a/t a, b -"),
            ("Bearer realm=\"https://a/t?x=1,2\"", "Bearer https://a/t?x=1,2 - -"),
            (
                "Bearer scope=\"repository:x:pull,push\", realm=\"https://a/t\" , Basic realm=\"a, b\"",
                "Bearer https://a/t - repository:x:pull,push | Basic",
            ),
            ("Bearer realm=\"https://a/t\",service=\"a \\\"b\\\"\"", "Bearer https://a/t a \"b\" -"),
            ("Bearer realm=\"https://a/t\",service=\"\"", "Bearer https://a/t - -"),
            ("Bearer service=\"s\"", "?Bearer"),
            ("Bearer", "?Bearer"),
            ("Bearer realm=\"\"", "?Bearer"),
            ("Bearer error=\"invalid_token\", Bearer realm=\"https://a/t\"", "Bearer https://a/t - - | ?Bearer"),
            (
                "Bearer realm=\"https://a/t\", Bearer realm=\"https://b/t\"",
                "Bearer https://a/t - - | Bearer https://b/t - -",
            ),
            ("Basic realm=\"r\", Bearer realm=\"https://a/t\"", "Bearer https://a/t - - | Basic"),
            ("Basic realm=\"Bearer realm=x, y\"", "Basic"),
            ("Bearer realm=\"https://a/t\" Basic realm=\"r\"", "Bearer https://a/t - - | Basic"),
            ("Negotiate", "?Negotiate"),
            ("Negotiate, Basic realm=\"r\"", "Basic | ?Negotiate"),
            ("Negotiate dG9rZW4=, Bearer realm=\"https://a/t\"", "Bearer https://a/t - - | ?Negotiate"),
            (
                "Negotiate oYG2MIGzoAMKAQChCw==, Bearer realm=\"https://a/t\",service=\"s\"",
                "Bearer https://a/t s - | ?Negotiate",
            ),
            ("NTLM TlRMTVNTUAAC, Basic realm=\"r\"", "Basic | ?NTLM"),
            ("Digest realm=\"r\", nonce=\"n\", qop=\"auth,auth-int\", Basic realm=\"r\"", "Basic | ?Digest"),
            ("Bearer realm=\"broken, Basic realm=\"r\"", "Bearer broken, Basic realm= - - | ?r"),
            ("Bearer realm=\"https://a/t", "Bearer https://a/t - -"),
            ("\u{1}=,,\"", ""),
            ("=\"x\", Basic", "Basic | ?x"),
            ("realm=\"r\", Basic realm=\"r\"", "Basic"),
        ];
        for (value, expected) in one {
            assert_eq!(in_words(&[value]), expected, "{value}");
        }
        let many: [(&[&str], &str); 5] = [
            (&[], ""),
            (&["Basic realm=\"r\"", "Bearer realm=\"https://a/t\""], "Bearer https://a/t - - | Basic"),
            (&["Negotiate dG9rZW4=", "Bearer realm=\"https://a/t\""], "Bearer https://a/t - - | ?Negotiate"),
            (&["Bearer realm=\"broken", "Bearer realm=\"https://b/t\""], "Bearer broken - - | Bearer https://b/t - -"),
            (&["", "Basic"], "Basic"),
        ];
        for (values, expected) in many {
            assert_eq!(in_words(values), expected, "{values:?}");
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
