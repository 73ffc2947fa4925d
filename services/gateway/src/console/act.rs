//! Doing: rotate, revoke and shred a secret. What will happen is said first, and what was asked becomes an event with its actor.

use axum::{
    body::Body,
    extract::Path,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use waybill_domain::{
    credentials::{CredentialInput, Secret},
    secret::SecretHead,
};
use waybill_schemas::{SecretName, WorkspaceId, v1::TokenRole};

use super::{
    ask::{self, Ask, Page},
    impact::{Impact, find_impact},
    layout::{self, Here, Same},
    session,
    stories::{read_secret, state_word},
};
use crate::{
    http::{
        body::{self, Form},
        problem::Problem,
        request, secrets, withdrawals,
    },
    idempotency::operation_event_id,
    operations::Operation,
    versions::{Saved, secret_subject},
    withdrawals::Withdrawal,
};

/// What can be done with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Rotate,
    Revoke,
    Shred,
}

impl Action {
    pub(super) const ALL: [Self; 3] = [Self::Rotate, Self::Revoke, Self::Shred];

    /// The word in addresses and commands.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::Shred => "shred",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Rotate => "Rotate",
            Self::Revoke => "Revoke",
            Self::Shred => "Shred",
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|action| action.as_str() == text).ok_or_else(ask::not_there)
    }
}

/// An action on a secret, before it is done.
struct Intent {
    action: Action,
    workspace: WorkspaceId,
    name: SecretName,
    head: SecretHead,
    impact: Impact,
}

impl Intent {
    async fn read(ask: &Ask, (workspace, name, action): (String, String, String)) -> Result<Self, Problem> {
        let action = Action::parse(&action)?;
        let (workspace, name) = (ask.workspace(workspace)?, request::id(name)?);
        let head = read_secret(ask, &workspace, &name).await?;
        let impact = find_impact(ask, &workspace, &name)?;
        Ok(Self { action, workspace, name, head, impact })
    }

    fn render_page(&self, ask: &Ask, refused: Option<&Problem>) -> Page {
        Page {
            title: format!("{} {}", self.action.label(), self.name),
            here: Here::Secrets,
            body: render_page(self, &ask.base(), refused),
        }
    }
}

/// `GET /secrets/{workspace}/{name}/{action}`.
pub(super) async fn show_form(ask: Ask, Path(place): Path<(String, String, String)>) -> Response {
    let page = Intent::read(&ask, place).await.map(|intent| intent.render_page(&ask, None));
    ask.answer(page)
}

/// `POST /secrets/{workspace}/{name}/{action}`.
pub(super) async fn carry_out_form(ask: Ask, Path(place): Path<(String, String, String)>, content: Body) -> Response {
    if !session::is_same_origin(&ask.headers) {
        return ask.answer(Err(ask::foreign_form()));
    }
    let intent = match Intent::read(&ask, place).await {
        Ok(intent) => intent,
        Err(problem) => {
            let refusal = problem.refusal();
            let mut answer = ask.answer(Err(problem));
            answer.extensions_mut().insert(refusal);
            return answer;
        }
    };
    let done = async {
        let form = body::read_form(&ask.headers, content, ask.app.limits).await?;
        carry_out(&ask, &intent, &form).await
    };
    match done.await {
        Ok(sequence) => {
            let Intent { workspace, name, .. } = &intent;
            Redirect::to(&format!("/secrets/{workspace}/{name}?done={sequence}")).into_response()
        }
        Err(problem) => {
            let mut answer = ask.answer(Ok(intent.render_page(&ask, Some(&problem))));
            answer.extensions_mut().insert(problem.refusal());
            answer
        }
    }
}

/// Records what was asked, and returns the sequence of its event.
async fn carry_out(ask: &Ask, intent: &Intent, form: &Form) -> Result<u64, Problem> {
    request::require(&ask.holder, TokenRole::Builder)?;
    let Intent { action, workspace, name, .. } = intent;
    let subject = secret_subject(workspace, name);
    let event_id = operation_event_id(action.as_str(), &subject, None);
    // What was said on the page is said of this version.
    let if_version = form.get("if_version").parse().map(Some);
    let if_version = if_version.map_err(|_| Problem::invalid("if_version", "the form names no version"))?;
    let (workspace, secret_name, actor) = (workspace.clone(), name.clone(), ask.holder.actor());
    if *action == Action::Rotate {
        let credentials = read_credentials(form.get("credentials"))?;
        let registry = None;
        let operation = Operation { workspace, secret_name, registry, credentials, if_version, event_id, verify: None };
        return match secrets::save(&ask.app, actor, operation).await? {
            Saved::New { receipt, .. } => Ok(receipt.sequence),
            Saved::Unchanged { .. } => {
                Err(Problem::invalid("credentials", "the secret has these credentials already; nothing was recorded"))
            }
            Saved::BoundElsewhere { .. } | Saved::Refused { .. } => Err(crate::http::problem::internal()),
        };
    }
    if *action == Action::Shred && form.get("confirm") != secret_name.as_str() {
        return Err(Problem::invalid("confirm", "the name is another one; nothing was shredded"));
    }
    let reason = withdrawals::read_reason(Some(form.get("reason").to_owned()))?;
    let shred = *action == Action::Shred;
    let withdrawal = Withdrawal { workspace, secret_name, shred, reason, if_version, event_id };
    Ok(withdrawals::record(&ask.app, &actor, withdrawal).await?.sequence)
}

/// Keys as a JSON object, or any text that a build takes.
fn read_credentials(text: &str) -> Result<CredentialInput, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Problem::invalid("credentials", "there are no credentials"));
    }
    let keys = if text.starts_with('{') { serde_json::from_str(text).ok() } else { None };
    Ok(keys.unwrap_or_else(|| CredentialInput::Text(Secret::new(text.to_owned()))))
}

fn render_page(intent: &Intent, base: &str, refused: Option<&Problem>) -> Markup {
    let Intent { action, workspace, name, head, impact } = intent;
    let secret = format!("/secrets/{workspace}/{name}");
    let (command, verb) = (action.as_str(), action.label());
    html! {
        div.lead {
            p.crumbs { "secret " a href=(secret) { (name) } " in workspace " (workspace) }
            h1 { (verb) " " (name) }
            p.soft { "version " (head.version) ", " (state_word(head.state)) ", for " code { (head.registry) } }
        }
        @if let Some(problem) = refused {
            div.notice.bad role="alert" {
                p { (layout::to_sentence(problem.detail())) }
                @if let Some(remedy) = problem.what_to_do() { p { (layout::render_prose(&layout::to_sentence(remedy))) } }
            }
        }
        div.columns {
            section.section {
                h2 { "What will happen" }
                ul.lines { @for line in foretell_effects(*action, impact) { li { (line) } } }
                (impact.table())
            }
            form.card action={ (secret) "/" (command) } method="post" {
                input type="hidden" name="if_version" value=(head.version);
                (render_fields(*action, name))
                div.actions.field {
                    button.danger[*action != Action::Rotate] type="submit" { (verb) " " (name) }
                    a.button.plain href=(secret) { "Leave it as it is" }
                }
            }
        }
        (layout::render_same(&list_same(intent, base)))
    }
}

fn render_fields(action: Action, name: &SecretName) -> Markup {
    html! {
        @if action == Action::Rotate {
            div.field {
                label for="credentials" { "New credentials" }
                textarea #credentials name="credentials" required autocomplete="off" spellcheck="false" {}
                p.hint {
                    code { "user:password" } ", a JSON object of keys such as " code { "{\"USERNAME\": …, \"PASSWORD\": …}" }
                    ", or a Docker configuration. They go into the vault, sealed, and never into the log."
                }
            }
        } @else {
            div.field {
                label for="reason" { "Why, for whoever reads the log" }
                input #reason name="reason" maxlength="200" autocomplete="off";
            }
        }
        @if action == Action::Shred {
            div.field {
                label for="confirm" { "Type the secret's name to erase it" }
                input #confirm name="confirm" required autocomplete="off" spellcheck="false" aria-describedby="confirm-hint";
                p #confirm-hint.hint { code { (name) } }
            }
        }
    }
}

/// What an action comes to, in sentences.
fn foretell_effects(action: Action, impact: &Impact) -> Vec<String> {
    let reach = impact.in_words();
    let lines: &[&str] = match action {
        Action::Rotate => &[
            "They get the new version within seconds, with one event for each worker.",
            "Containers that are asked for from now on get it as well. Pulls under way end with what they have.",
        ],
        Action::Revoke => &[
            "Their workers drop the login. What runs goes on running; the next pull fails as secret_revoked.",
            "Containers that are asked for from now on get nothing. A new version brings the secret back.",
            "At the registry nothing changes: close the account there too.",
        ],
        Action::Shred => &[
            "Their workers drop the login.",
            "Every version and every grant is erased from the vault. Nobody can open them again.",
            "The log keeps that the secret was there, and who shredded it.",
        ],
    };
    [format!("{reach}.")].into_iter().chain(lines.iter().map(|line| (*line).to_owned())).collect()
}

fn list_same(intent: &Intent, base: &str) -> Vec<Same> {
    let Intent { action, workspace, name, head, .. } = intent;
    let (verb, version) = (action.as_str(), head.version);
    let (flag, json) = match action {
        Action::Rotate => ("--creds FILE", "\"credentials\": \"…\", "),
        Action::Revoke | Action::Shred => ("--reason TEXT", "\"reason\": \"…\", "),
    };
    vec![
        Same::command(format_args!("secrets {verb} {name} {flag} --if-version {version} --workspace {workspace}")),
        Same(format!(
            "curl -H \"Authorization: Bearer $WAYBILL_TOKEN\" --json '{{{json}\"if_version\": {version}}}' \
             {base}/v1/secrets/{workspace}/{name}/{verb}"
        )),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_in_each_form() {
        let keys = |text: &str| matches!(read_credentials(text), Ok(CredentialInput::Keys(_)));
        let text = |text: &str| matches!(read_credentials(text), Ok(CredentialInput::Text(_)));
        assert!(keys(r#"{"USERNAME": "u", "PASSWORD": "p"}"#));
        assert!(text(" u:p\n") && text(r#"{"registry": "a.b", "type": "basic", "credentials": {"USERNAME": "u"}}"#));
        assert_eq!(read_credentials(" \n").unwrap_err().detail(), "there are no credentials");
    }

    #[test]
    fn each_action_says_how_many_it_reaches() {
        let cases = [
            (vec![("w1".to_owned(), 8), ("w2".to_owned(), 1)], "9 containers on 2 workers have it."),
            (vec![("w1".to_owned(), 1)], "1 container on 1 worker has it."),
            (vec![], "No container has it now."),
        ];
        for (workers, reach) in cases {
            let impact = Impact { workers };
            for action in Action::ALL {
                assert_eq!(foretell_effects(action, &impact).first().unwrap(), reach);
            }
        }
    }
}
