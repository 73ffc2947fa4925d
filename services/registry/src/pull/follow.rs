//! A request to a registry, and wherever the registry sends it on.
//!
//! No library follows redirects for us: a registry must not send its callers into the operator's own network, nor off TLS.

use reqwest::{RequestBuilder, Response, Url, header::LOCATION};

use super::{
    place::Unfit,
    trouble::{Refusal, Trouble, has_content},
};

const MOST_REDIRECTS: usize = 5;

/// The content's answer. `ask` makes a request, with credentials if told that it goes to the registry itself: whoever is not
/// the registry gets none. `judge` looks at every other place before it is asked.
pub(super) async fn follow(
    url: &str,
    judge: impl Fn(&Url) -> Result<(), Unfit>,
    ask: impl Fn(Url, bool) -> RequestBuilder,
) -> Result<Response, Trouble> {
    let url = Url::parse(url).map_err(|_| Unfit::NoAddress)?;
    let registry = url.origin();
    let (mut at_registry, mut answer) = (true, ask(url, true).send().await?);
    for _ in 0..MOST_REDIRECTS {
        let Some(next) = next(&answer) else { break };
        at_registry = next.origin() == registry;
        if !at_registry {
            judge(&next)?;
        }
        answer = ask(next, at_registry).send().await?;
    }
    if has_content(answer.status()) { Ok(answer) } else { Err(Refusal::read(answer, at_registry).await.into()) }
}

fn next(answer: &Response) -> Option<Url> {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
    answer.url().join(location.to_str().ok()?).ok()
}
