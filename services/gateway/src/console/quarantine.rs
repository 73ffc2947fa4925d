//! Messages that nobody can read: where they stand and why, and what can be done: read them again, or give them up.

use axum::{
    body::Body,
    extract::Path,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use uuid::Uuid;
use waybill_platform::log::{Expect, NewEvent};
use waybill_schemas::{
    Event, Subject,
    v1::{QuarantineDiscarded, QuarantineRetried, TokenRole},
};

use super::{
    ask::{self, Ask, Page},
    layout::{self, Here, Same},
    pulse::Unreadable,
    session,
};
use crate::{
    http::{body, problem::Problem, withdrawals},
    record::{RecordError, Written},
};

/// `GET /quarantine`.
pub(super) async fn show_list(ask: Ask) -> Response {
    let own = ask.holder.workspace();
    let unreadable = ask.app.feed.pulse.list_unreadable(own);
    let done = ask.number("done");
    let page = done.map(|done| Page {
        title: "Quarantine".to_owned(),
        here: Here::Elsewhere,
        body: render_page(&unreadable, own.is_none(), done),
    });
    ask.answer(page)
}

/// `POST /quarantine/{sequence}/{action}`: an event, which the scheduler folds.
pub(super) async fn record_choice(ask: Ask, Path((sequence, action)): Path<(u64, String)>, content: Body) -> Response {
    let asked = async {
        if !session::is_same_origin(&ask.headers) {
            return Err(ask::foreign_form());
        }
        if ask.holder.workspace().is_some() || !ask.holder.may(TokenRole::Admin) {
            return Err(ask::operators_only());
        }
        let form = body::read_form(&ask.headers, content, ask.app.limits).await?;
        let event: Event = match action.as_str() {
            "retry" => QuarantineRetried { sequence }.into(),
            "discard" => {
                let reason = withdrawals::read_reason(Some(form.get("reason").to_owned()))?;
                QuarantineDiscarded { sequence, reason }.into()
            }
            _ => return Err(ask::not_there()),
        };
        record_event(&ask, sequence, event).await
    };
    match asked.await {
        Ok(done) => Redirect::to(&format!("/quarantine?done={done}")).into_response(),
        Err(problem) => ask.answer(Err(problem)),
    }
}

async fn record_event(ask: &Ask, sequence: u64, event: Event) -> Result<u64, Problem> {
    let session = ask.app.recorder.begin(&ask.holder.actor());
    ask.app
        .see_through(async move {
            let envelope = session.envelope(Uuid::new_v4(), None);
            let new = NewEvent { subject: Subject::Quarantine { sequence }, envelope, event };
            match session.append(new, Expect::Anything).await? {
                Written::Stored(receipt) => Ok(receipt.sequence),
                Written::Conflict(_) => Err(RecordError::Contended),
            }
        })
        .await
}

fn render_page(unreadable: &[Unreadable], may_act: bool, done: Option<u64>) -> Markup {
    html! {
        div.lead {
            h1 { "Quarantine" }
            p.soft { "Messages of the log that this version cannot read. Everything else goes on without them." }
        }
        @if let Some(done) = done {
            p.notice role="status" {
                "Asked for at sequence " a href={ "/events/" (done) } { (done) } ". The scheduler folds the log anew for a retry; "
                "a message that it takes back leaves this list with the next version that can read it."
            }
        }
        @if unreadable.is_empty() {
            (layout::render_empty("Every message can be read.", "`waybill quarantine list --all` shows those that were given up."))
        } @else {
            ul.causes { @for one in unreadable { (render_message(one, may_act)) } }
            (layout::render_same(&[
                Same::command("quarantine list"),
                Same::command("quarantine retry SEQUENCE"),
                Same::command("quarantine discard SEQUENCE --reason TEXT"),
            ]))
        }
    }
}

fn render_message(one: &Unreadable, may_act: bool) -> Markup {
    let sequence = one.sequence;
    html! {
        li {
            p.line {
                span { a href={ "/events/" (sequence) } { "sequence " (sequence) } " " code { (one.subject) } }
                span.soft.small { (layout::render_time(one.at)) " · " (layout::spell_count(one.bytes, "byte")) }
            }
            p.bad { (one.error) }
            @if may_act {
                div.actions {
                    form action={ "/quarantine/" (sequence) "/retry" } method="post" {
                        button.plain type="submit" title="The scheduler folds the whole log anew with it, and takes that if every decision still agrees" { "Read it again" }
                    }
                    form.actions action={ "/quarantine/" (sequence) "/discard" } method="post" {
                        label.hidden for={ "reason-" (sequence) } { "Why" }
                        input id={ "reason-" (sequence) } name="reason" maxlength="200" placeholder="why";
                        button.danger type="submit" { "Give it up for good" }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_operator_is_offered_to_act() {
        let one = Unreadable {
            sequence: 17,
            at: "2026-01-31T12:00:00Z".parse().unwrap(),
            subject: "waybill.events.<b>".to_owned(),
            error: "not JSON".to_owned(),
            bytes: 3,
        };
        for may_act in [true, false] {
            let text = render_page(std::slice::from_ref(&one), may_act, None).into_string();
            assert_eq!(text.contains("/quarantine/17/discard"), may_act, "{text}");
            assert!(text.contains("waybill.events.&lt;b&gt;"), "{text}");
        }
        assert!(render_page(&[], true, Some(9)).into_string().contains("Every message can be read."));
    }
}
