//! `GET /live`: the page of the present, kept up to date by server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::response::{
    IntoResponse as _, Response,
    sse::{self, KeepAlive, Sse},
};
use futures_util::stream;
use maud::{Markup, html};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast},
    time::{Instant, timeout_at},
};
use waybill_platform::{log::RawMessage, trace};

use super::{ask::Ask, flow, now};
use crate::http::{now::read_figures, problem};

/// Figures and causes are counted anew this often, and what happened since is shown together.
const INTERVAL: Duration = Duration::from_secs(2);
/// What happens is shown after at most this long.
const SOON: Duration = Duration::from_millis(250);
/// Most new lines of one message: nobody reads more.
const MOST_LINES: usize = 30;

struct Watching {
    ask: Ask,
    news: broadcast::Receiver<Arc<RawMessage>>,
    count_at: Instant,
    /// One of the streams that the gateway serves.
    _permit: OwnedSemaphorePermit,
}

/// Follows the log for one page.
pub(super) async fn follow_log(ask: Ask) -> Response {
    let Ok(permit) = ask.app.streams.clone().try_acquire_owned() else {
        return problem::too_many_streams().into_response();
    };
    let watching = Watching { news: ask.app.feed.listen(), ask, count_at: Instant::now() + INTERVAL, _permit: permit };
    let messages = stream::unfold(watching, async |mut watching| {
        let markup = watching.next().await?;
        Some((Ok::<_, Infallible>(sse::Event::default().data(markup.into_string())), watching))
    });
    Sse::new(messages).keep_alive(KeepAlive::default()).into_response()
}

impl Watching {
    /// What changes on the page next; none when the gateway stops.
    async fn next(&mut self) -> Option<Markup> {
        loop {
            let mut lines = Vec::new();
            let mut until = self.count_at;
            // The first event opens a short window: what happens together is shown together.
            while let Some(message) = self.receive(until).await? {
                if flow::is_visible(&message, self.ask.holder.workspace()) {
                    until = until.min(Instant::now() + SOON);
                    lines.push(message);
                }
            }
            let counted = Instant::now() >= self.count_at;
            if counted {
                self.count_at = Instant::now() + INTERVAL;
            }
            if counted || !lines.is_empty() {
                return Some(self.render(&lines, counted).await);
            }
        }
    }

    /// The next message before a time: the inner none when it is over, the outer one when the gateway stops.
    async fn receive(&mut self, until: Instant) -> Option<Option<Arc<RawMessage>>> {
        loop {
            let stopping = self.ask.app.feed.stopping.clone();
            let received = tokio::select! {
                biased;
                () = stopping.cancelled() => return None,
                received = timeout_at(until, self.news.recv()) => received,
            };
            match received {
                Err(_) => return Some(None),
                Ok(Ok(message)) => return Some(Some(message)),
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => {}
                Ok(Err(broadcast::error::RecvError::Closed)) => return None,
            }
        }
    }

    async fn render(&self, lines: &[Arc<RawMessage>], counted: bool) -> Markup {
        let (figures, failing) = match counted {
            true => (
                read_figures(&self.ask.app, self.ask.holder.workspace()).await.ok(),
                now::read_failing(&self.ask).await.ok(),
            ),
            false => (None, None),
        };
        html! {
            @if !lines.is_empty() {
                hx-partial hx-target="#flow" hx-swap="afterbegin" {
                    @for message in lines.iter().rev().take(MOST_LINES) { (flow::render_line(message, true)) }
                }
            }
            @if let Some(figures) = figures { hx-partial hx-target="#figures" hx-swap="innerHTML" { (now::render_tiles(&figures)) } }
            @if let Some(failing) = failing { hx-partial hx-target="#causes" hx-swap="innerHTML" { (now::render_causes(&failing, trace::now())) } }
        }
    }
}
