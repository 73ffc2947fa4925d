//! Signing in and out, and the choice of colours.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;
use waybill_schemas::v1::TokenRole;

use super::{
    ask::{self, Ask},
    layout::{self, Frame, Here},
    session::{self, Session, Theme},
};
use crate::http::{App, body};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Back {
    #[serde(default)]
    back: String,
}

/// `GET /signin`.
pub(super) async fn show_form(Query(Back { back }): Query<Back>, headers: HeaderMap) -> Response {
    render_form(&headers, StatusCode::OK, &back, None)
}

fn render_form(headers: &HeaderMap, status: StatusCode, back: &str, problem: Option<&str>) -> Response {
    let back = ask::safe_path(back);
    let frame =
        Frame { here: Here::Elsewhere, theme: Theme::read(headers), holder: None, address: "/signin", sought: "" };
    ask::respond_with(status, headers, &layout::render_document(&frame, "Sign in", &render_page(back, problem)))
}

fn render_page(back: &str, problem: Option<&str>) -> Markup {
    html! {
        div.lead {
            h1 { "Sign in" }
            p.soft { "See every pull credential's way, from the build to the container that uses it." }
        }
        @if let Some(problem) = problem { p.notice.bad role="alert" { (layout::render_prose(problem)) } }
        form.card.narrow action="/signin" method="post" {
            input type="hidden" name="back" value=(back);
            div.field {
                label for="token" { "Token" }
                input #token type="password" name="token" required autofocus autocomplete="current-password" spellcheck="false";
                p.hint {
                    "A workspace's token (" code { "tokens/<workspace>.token" } ") shows that workspace; the operator's ("
                    code { "operator.token" } ") shows all. " code { "waybill init" } " wrote both into the home folder."
                }
            }
            button type="submit" { "Sign in" }
        }
        // The cookie does not come with a link from another site; from here it does.
        @if back != "/" { p { a href=(back) { "I am signed in already: go on" } } }
    }
}

/// `POST /signin`: the token becomes a session, and is forgotten.
pub(super) async fn begin_session(State(app): State<Arc<App>>, headers: HeaderMap, content: Body) -> Response {
    if !session::is_same_origin(&headers) {
        return ask::foreign_form().into_response();
    }
    let form = match body::read_form(&headers, content, app.limits).await {
        Ok(form) => form,
        Err(problem) => return problem.into_response(),
    };
    let (token, back) = (form.get("token").trim(), form.get("back"));
    let Some(holder) = app.tokens.holder(token) else {
        tracing::warn!("somebody tried to sign in to the console with a token that is none");
        let problem = "That is no token of this gateway. `waybill init` wrote them into its home folder.";
        return render_form(&headers, StatusCode::UNAUTHORIZED, back, Some(problem));
    };
    if !holder.may(TokenRole::Reader) {
        let problem = "That token is not for reading: `waybill token create --role reader` makes one that is.";
        return render_form(&headers, StatusCode::FORBIDDEN, back, Some(problem));
    }
    tracing::info!(actor = holder.actor(), "signed in to the console");
    let cookie = Session::begin(token).set_cookie(&app.recorder.hash_key, session::is_secure(&headers));
    ([(header::SET_COOKIE, cookie)], Redirect::to(ask::safe_path(back))).into_response()
}

/// `POST /signout`.
pub(super) async fn end_session(asked: Ask) -> Response {
    if !session::is_same_origin(&asked.headers) {
        return asked.answer(Err(ask::foreign_form()));
    }
    asked.app.console.ended.add(&asked.session);
    ([(header::SET_COOKIE, session::clear_cookie())], Redirect::to("/signin")).into_response()
}

/// `POST /workspace`: which of the token's workspaces the pages of this browser show.
pub(super) async fn choose_workspace(asked: Ask, content: Body) -> Response {
    match body::read_form(&asked.headers, content, asked.app.limits).await {
        Ok(form) => {
            let holder = asked.holder.choose(form.get("workspace"));
            let cookie = holder.workspace().map(|chosen| [(header::SET_COOKIE, session::choose_workspace(chosen))]);
            (cookie, Redirect::to(ask::safe_path(form.get("back")))).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// `POST /theme`: changes nothing but how pages look in this browser.
pub(super) async fn choose_theme(State(app): State<Arc<App>>, headers: HeaderMap, content: Body) -> Response {
    match body::read_form(&headers, content, app.limits).await {
        Ok(form) => {
            let cookie = Theme::parse(form.get("theme")).set_cookie();
            ([(header::SET_COOKIE, cookie)], Redirect::to(ask::safe_path(form.get("back")))).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}
