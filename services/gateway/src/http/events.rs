//! `GET /v1/events`: the events of a workspace, page by page or as they come (server-sent events). Never a secret: the log holds
//! none.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, broadcast, broadcast::error::RecvError};
use utoipa::{IntoParams, ToSchema};
use waybill_platform::{
    chain,
    events::{Ids, Order, Place, Selection, Span, read_events, to_cloud_event},
    log::{Log, LogError, RawMessage},
};
use waybill_schemas::{EventType, Filter, v1::TokenRole};

use super::{
    App,
    openapi::ReadProblems,
    problem::{self, Problem},
    request,
};

/// Events of one look-up of a stream.
const BACKLOG: usize = 500;
/// How often a silent stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events. Several ids ask for what concerns any of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Owner of the events; the token's own workspace.
    #[param(example = "acme")]
    workspace: Option<String>,
    /// Only events of these types, with commas between them.
    #[serde(rename = "type")]
    #[param(example = "ImagePullFailed")]
    types: Option<String>,
    /// Only builds of this image.
    image: Option<String>,
    /// Only what concerns this container: requests, decisions, outcomes, ends.
    container: Option<String>,
    /// Only what concerns this secret: versions, withdrawals, renewals and their outcomes.
    secret: Option<String>,
    /// Only decisions for this worker, and what it reports.
    worker: Option<String>,
    /// Only what was published in this trace.
    trace: Option<String>,
    /// The first sequence or time (RFC 3339).
    #[param(example = "1")]
    from: Option<String>,
    /// The last sequence or time (RFC 3339).
    until: Option<String>,
    /// `oldest` or `newest` first.
    #[param(example = "newest")]
    order: Option<String>,
    /// Most events of one page, 1 to 1000; 100 if it is not given.
    limit: Option<String>,
}

/// Events in the JSON format of CloudEvents 1.0.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventsAnswer {
    /// The events, in the order that was asked for. Each has its `sequence` in the log and `recordedtime` beside the attributes of
    /// CloudEvents, and its fields in `data`; one that cannot be read has `error` instead.
    #[schema(value_type = Vec<serde_json::Value>)]
    events: Vec<Map<String, Value>>,
    /// Where the next page begins: `from` with the oldest first, `until` with the newest first. Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<u64>,
}

/// What was asked for, read.
struct Question {
    selection: Selection,
    from: Option<Place>,
    until: Option<Place>,
    order: Order,
    limit: usize,
}

/// Reads the events of a workspace.
///
/// With `Accept: text/event-stream` they come as server-sent events, each with its sequence as `id`, from `from` or `Last-Event-ID`
/// on, or from the present, and go on without end.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "listEvents",
    tag = "events",
    security(("bearer" = [])),
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Of a stream: the sequence that was read last"),
    ),
    responses(
        (status = 200, description = "The events", content(
            (EventsAnswer = "application/json"),
            (String = "text/event-stream"),
        )),
        ReadProblems,
    )
)]
pub(super) async fn list(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let holder = request::authenticate(&app, &headers, TokenRole::Reader)?;
    let query: EventsQuery = request::query(&uri)?;
    let streamed = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let streamed = streamed.is_some_and(|accept| accept.contains("text/event-stream"));
    let last_id = request::last_event_id(&headers)?;
    let question = read(query, &holder)?;
    if streamed {
        return follow(&app, question, last_id).await;
    }
    let log = app.recorder.log.as_ref();
    let reading = async {
        let from = sequence(log, question.from, Place::first).await?.unwrap_or(1);
        let until = sequence(log, question.until, Place::last).await?.unwrap_or(u64::MAX);
        read_events(log, &question.selection, Span { from, until }, question.order, question.limit).await
    };
    let page = request::in_time(&app, reading).await?;
    let events = page.messages.iter().map(to_cloud_event).collect();
    Ok(Json(EventsAnswer { events, next: page.next }).into_response())
}

async fn sequence<'l, F>(
    log: &'l dyn Log,
    place: Option<Place>,
    find: impl FnOnce(Place, &'l dyn Log) -> F,
) -> Result<Option<u64>, LogError>
where
    F: Future<Output = Result<u64, LogError>>,
{
    match place {
        Some(place) => find(place, log).await.map(Some),
        None => Ok(None),
    }
}

fn read(query: EventsQuery, holder: &crate::tokens::Holder) -> Result<Question, Problem> {
    let workspace = request::scope(query.workspace, holder)?;
    let types = query.types.as_deref().map_or(Ok(Vec::new()), |types| {
        let types: Result<Vec<EventType>, _> = types.split(',').map(|name| name.trim().parse()).collect();
        types.map_err(|error| Problem::invalid("type", error.to_string()))
    })?;
    let ids = Ids {
        workspace,
        image: query.image.map(request::id).transpose()?,
        container: query.container.map(request::id).transpose()?,
        secret: query.secret.map(request::id).transpose()?,
        worker: query.worker.map(request::id).transpose()?,
    };
    let order = match query.order.as_deref() {
        None | Some("oldest") => Order::Oldest,
        Some("newest") => Order::Newest,
        Some(_) => return Err(Problem::invalid("order", "the order is oldest or newest")),
    };
    let trace = query.trace.map(|text| text.parse().map_err(|error: &str| Problem::invalid("trace", error)));
    Ok(Question {
        selection: Selection { filters: ids.filters(), pattern: None, trace: trace.transpose()?, types },
        from: request::place("from", query.from)?,
        until: request::place("until", query.until)?,
        order,
        limit: request::limit(query.limit)?,
    })
}

/// A stream of events, and what it still has to send.
struct Following {
    app: Arc<App>,
    selection: Selection,
    /// The first sequence that was not looked at.
    next: u64,
    ready: VecDeque<RawMessage>,
    /// Messages as they are read, once the stream has caught up.
    live: Option<broadcast::Receiver<Arc<RawMessage>>>,
    _place: OwnedSemaphorePermit,
}

async fn follow(app: &Arc<App>, question: Question, last_id: Option<u64>) -> Result<Response, Problem> {
    let place = app.streams.clone().try_acquire_owned().map_err(|_| problem::too_many_streams())?;
    let log = app.recorder.log.as_ref();
    let next = match (last_id, question.from) {
        (Some(last), _) => last.saturating_add(1),
        (None, Some(from)) => request::in_time(app, from.first(log)).await?,
        (None, None) => {
            let last = request::in_time(app, log.last_matching(&Filter::All)).await?;
            last.map_or(1, |last| last.sequence.saturating_add(1))
        }
    };
    let (selection, ready) = (question.selection, VecDeque::new());
    let following = Following { app: app.clone(), selection, next, ready, live: None, _place: place };
    let events = stream::unfold(following, |mut following| async move {
        let message = following.next_message().await?;
        let data = Value::Object(to_cloud_event(&message)).to_string();
        let event = sse::Event::default().id(message.sequence.to_string()).event(event_name(&message)).data(data);
        Some((Ok::<_, Infallible>(event), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// Type of the event, for listeners of one type; `unreadable` for what is none.
fn event_name(message: &RawMessage) -> &'static str {
    message.decode().map_or("unreadable", |recorded| recorded.event.event_type().as_str())
}

impl Following {
    /// The next message; none where the gateway stops or the log does not answer. The client connects again then, with the id of
    /// the last one.
    async fn next_message(&mut self) -> Option<RawMessage> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let Some(live) = &mut self.live else {
                self.catch_up().await?;
                continue;
            };
            let received = tokio::select! {
                biased;
                () = self.app.feed.stopping.cancelled() => return None,
                received = live.recv() => received,
            };
            match received {
                Ok(message) if message.sequence >= self.next => {
                    self.next = message.sequence.saturating_add(1);
                    if self.selection.keeps(&message) {
                        return Some(message.as_ref().clone());
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.live = None,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Reads what was said before the feed got to where it is; from there on it is listened to.
    async fn catch_up(&mut self) -> Option<()> {
        let live = self.app.feed.listen();
        let until = self.app.feed.position();
        if self.next > until {
            self.live = Some(live);
            return Some(());
        }
        let (log, span) = (self.app.recorder.log.as_ref(), Span { from: self.next, until });
        let page = match read_events(log, &self.selection, span, Order::Oldest, BACKLOG).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(error = chain(&error), "a stream of events ends: the log does not answer");
                return None;
            }
        };
        self.next = page.next.unwrap_or(until.saturating_add(1));
        self.ready.extend(page.messages);
        Some(())
    }
}
