//! What a page is asked with: a session, who holds its token, and the address; and how a page is answered.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use flate2::Compression;
use maud::{Markup, html};
use waybill_platform::explain::{Explainer, Moment, Scope};
use waybill_schemas::WorkspaceId;

use super::{
    assets,
    layout::{self, Frame, Here},
    session::{self, Session, Theme},
};
use crate::{
    http::{
        App,
        problem::{self, Problem},
        request,
    },
    refusals::witness,
    tokens::Holder,
};

/// A request of somebody who is signed in.
pub(super) struct Ask {
    pub(super) app: Arc<App>,
    pub(super) session: Session,
    pub(super) holder: Holder,
    pub(super) headers: HeaderMap,
    uri: Uri,
    query: BTreeMap<String, String>,
}

/// A page, ready to be framed.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) here: Here,
    pub(super) body: Markup,
}

impl FromRequestParts<Arc<App>> for Ask {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let found = session::find_session(&parts.headers, &app.recorder.hash_key, &app.tokens, &app.console.ended);
        let Some((session, holder)) = found else { return Err(sign_in_first(parts)) };
        let holder = match session::chosen_workspace(&parts.headers) {
            Some(workspace) => holder.choose(&workspace),
            None => holder,
        };
        witness::note_holder(&holder);
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        Ok(Self { app: app.clone(), session, holder, headers: parts.headers.clone(), uri: parts.uri.clone(), query })
    }
}

/// A part of a page is fetched by a script, which would show the form in its place: the browser is sent there instead.
fn sign_in_first(parts: &Parts) -> Response {
    let back: String = form_urlencoded::byte_serialize(parts.uri.to_string().as_bytes()).collect();
    let place = if parts.method == "GET" { format!("/signin?back={back}") } else { "/signin".to_owned() };
    match parts.headers.contains_key("hx-request") {
        true => (StatusCode::UNAUTHORIZED, [("hx-redirect", "/signin")]).into_response(),
        false => Redirect::to(&place).into_response(),
    }
}

impl Ask {
    /// A parameter of the query, unless it is empty.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A number in the query.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| text.parse().map_err(|_| Problem::invalid(name, "the value is not a number"));
        self.parameter(name).map(parse).transpose()
    }

    /// The workspace of a path, if the token opens it.
    pub(super) fn workspace(&self, text: String) -> Result<WorkspaceId, Problem> {
        request::authorize(text, &self.holder)
    }

    /// Answers questions about a moment, and speaks of as much as the token opens.
    pub(super) fn explainer(&self, moment: Moment) -> Explainer {
        let scope = if self.holder.workspace().is_some() { Scope::OneWorkspace } else { Scope::Everything };
        Explainer { scope, moment, ..self.app.explainer.clone() }
    }

    /// The gateway's address, as the browser has it.
    pub(super) fn base(&self) -> String {
        let host = self.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:8484");
        format!("http://{host}")
    }

    /// Answers with a page, or with what is wrong as a page.
    pub(super) fn answer(&self, page: Result<Page, Problem>) -> Response {
        let (status, page) = match page {
            Ok(page) => (StatusCode::OK, page),
            Err(problem) => (problem.status(), render_problem(&problem)),
        };
        let frame = Frame {
            here: page.here,
            theme: Theme::read(&self.headers),
            holder: Some(&self.holder),
            address: &self.uri.to_string(),
            sought: self.parameter("q").unwrap_or_default(),
        };
        respond_with(status, &self.headers, &layout::render_document(&frame, &page.title, &page.body))
    }

    /// Answers with a part of a page, for a script that puts it in its place.
    pub(super) fn answer_part(&self, part: Result<Markup, Problem>) -> Response {
        match part {
            Ok(part) => respond_with(StatusCode::OK, &self.headers, &part),
            Err(problem) => respond_with(problem.status(), &self.headers, &render_problem(&problem).body),
        }
    }
}

fn render_problem(problem: &Problem) -> Page {
    let (title, detail) = (problem.title(), problem.detail());
    let body = html! {
        div.lead { h1 { (title) } }
        div.notice.bad {
            p { (layout::to_sentence(detail)) }
            @if let Some(remedy) = problem.what_to_do() { p { (layout::render_prose(&layout::to_sentence(remedy))) } }
        }
        p { a href="/" { "Back to what happens now" } }
    };
    Page { title: title.to_owned(), here: Here::Elsewhere, body }
}

/// HTML, compressed where the browser takes it.
pub(super) fn respond_with(status: StatusCode, headers: &HeaderMap, markup: &Markup) -> Response {
    let media_type = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let text = markup.0.as_bytes();
    match assets::takes_gzip(headers) {
        true => (status, media_type, assets::GZIP, assets::compress(text, Compression::fast())).into_response(),
        false => (status, media_type, text.to_owned()).into_response(),
    }
}

/// Nothing from another host, nothing that stands in the page itself, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers of every answer of the console. Pages are not kept: somebody else may sit at the browser next.
pub(super) async fn add_headers(mut response: Response) -> Response {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With none at all, the browser would not say where a form comes from.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A form of another site, or of a program that does not say where it comes from.
pub(super) fn foreign_form() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "foreign_form", "the form was not sent by a page of this console")
        .field("Origin")
        .remedy("open the page again and send its form")
}

/// Where to go after signing in or choosing colours: a path of this console and nothing else.
pub(super) fn safe_path(text: &str) -> &str {
    let is_path = text.starts_with('/') && !text.starts_with("//") && !text.contains(['\\', '\r', '\n']);
    if is_path { text } else { "/" }
}

/// What only the operator's token may do.
pub(super) fn operators_only() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "operators_only", "only an operator may do this")
        .remedy("sign in with the operator's token, which `waybill init` wrote to operator.token")
}

/// Nothing is at the address.
pub(super) fn not_there() -> Problem {
    problem::no_such_route()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_is_gone_back_to() {
        let cases = [
            ("/secrets/acme/a?x=1", "/secrets/acme/a?x=1"),
            ("//evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\\evil.example", "/"),
            ("", "/"),
        ];
        for (text, path) in cases {
            assert_eq!(safe_path(text), path, "{text}");
        }
    }
}
