//! What programs of the node asked: refused, asked by somebody else, or nobody.

use waybill_schemas::{
    Event, Recorded,
    v1::{AskedWith, LoginQuestion, LoginRefusal, NodeLoginAsked, Question},
};

use super::{
    container::View,
    story::Story,
    verdict::{Code, Hop, Verdict},
};

/// Most questions of others that are told of, the newest.
const OTHERS: usize = 3;

/// True if an answer says something of the login itself: the others are about the key, the token or another registry.
pub(super) fn is_about_login(reason: Option<LoginRefusal>) -> bool {
    match reason {
        None
        | Some(
            LoginRefusal::Ambiguous
            | LoginRefusal::Expired
            | LoginRefusal::Unusable
            | LoginRefusal::ExchangeFailed
            | LoginRefusal::NotExpressible
            | LoginRefusal::Unavailable,
        ) => true,
        Some(
            LoginRefusal::BadRequest
            | LoginRefusal::NoAccess
            | LoginRefusal::TokenRefused
            | LoginRefusal::NoRule
            | LoginRefusal::NotFound,
        ) => false,
    }
}

/// The last word of the worker to a program that wants the placement's login, where it is no. A program that is refused pulls
/// as nobody, so a pull that the worker made proves nothing for it.
pub(super) fn find_refusal(story: &Story<'_>) -> Option<Verdict> {
    let counts = |asked: &&Recorded<&LoginQuestion>| {
        asked.value.question == Question::Login && is_about_login(asked.value.reason)
    };
    let Recorded { sequence, at, value } = story.asked.iter().rfind(counts)?;
    let reason = value.reason?;
    let renewed = story.renewals.iter().filter_map(|renewal| renewal.outcome.as_ref()).next_back();
    // The next question gets the newer version.
    if story.ended.is_some() || renewed.is_some_and(|renewed| renewed.sequence > *sequence) {
        return None;
    }
    let sentence = format!("{} and was refused: {}", who_asked(value), refusal(reason, value));
    Some(Verdict::broken(Hop::Asked, Code::AskedAndRefused, sentence, remedy(reason, story)).at(*sequence, *at))
}

fn remedy(reason: LoginRefusal, story: &Story<'_>) -> String {
    match reason {
        LoginRefusal::Expired => {
            "Rotate the secret, or build with new credentials; the next question gets them.".to_owned()
        }
        LoginRefusal::Ambiguous => {
            "Have it ask with the container's own access file, or the pod's rule name the container.".to_owned()
        }
        LoginRefusal::NotExpressible => {
            "Save credentials that are a user name and a password: such programs can use no others.".to_owned()
        }
        LoginRefusal::ExchangeFailed => {
            "See to the keys and their permissions, and to the network; the next question tries again.".to_owned()
        }
        _ => format!("Look at the log of worker {}, and have the program ask again.", story.worker()),
    }
}

/// Whether anybody used what was attached, and who else asked the same worker.
pub(super) fn notes(view: &View<'_>, story: &Story<'_>) -> Vec<String> {
    // Of a placement that is on its way or broken, the verdict says more.
    let Some(credential) = story.credential().filter(|_| story.is_pulled() && story.ended.is_none()) else {
        return Vec::new();
    };
    let is_same =
        |asked: &LoginQuestion| asked.registry.as_ref().is_none_or(|registry| *registry == credential.registry);
    let others = view.history.events().filter_map(|recorded| match &recorded.value.event {
        Event::NodeLoginAsked(NodeLoginAsked { worker_id, asked, .. }) => {
            let counts = worker_id == story.worker() && recorded.sequence > story.number() && is_same(asked);
            counts.then_some((recorded.sequence, asked))
        }
        _ => None,
    });
    let others: Vec<_> = others.collect();
    let mut notes = Vec::new();
    for (sequence, asked) in others.iter().rev().take(OTHERS).rev() {
        let got = asked.reason.map_or_else(
            || "was given a login".to_owned(),
            |reason| format!("was refused: {}", refusal(reason, asked)),
        );
        notes.push(format!("asked by another: at sequence {sequence}, {} and {got}", who_asked(asked)));
    }
    if story.asked.is_empty() {
        notes.push(format!(
            "nobody asked: no program of the node has asked worker {} for this container's login, only its own pull used it",
            story.worker()
        ));
    }
    notes
}

/// One question in words: who, with what, for what, and what it got.
pub(super) fn describe(asked: &LoginQuestion) -> String {
    let got = match (asked.question, asked.reason) {
        (_, Some(reason)) => format!("refused, {}", asked.detail.as_deref().unwrap_or(reason.meaning())),
        (Question::List, None) => "was given the list".to_owned(),
        (Question::Login | Question::End, None) => "was given it".to_owned(),
    };
    let repeated = asked.repeated.map_or_else(String::new, |times| format!("; the same {times} more times before"));
    format!("{}: {got}{repeated}", who_asked(asked))
}

fn refusal(reason: LoginRefusal, asked: &LoginQuestion) -> String {
    let detail = asked.detail.as_deref().unwrap_or(reason.meaning());
    format!("{reason}: {}", detail.trim_end_matches('.'))
}

fn who_asked(asked: &LoginQuestion) -> String {
    let pid = asked.pid.map(|pid| format!("pid {pid}"));
    let run_by = asked.run_by.as_ref().map(|parent| format!("run by {parent}"));
    let process: Vec<String> = pid.into_iter().chain(run_by).collect();
    let process = if process.is_empty() { String::new() } else { format!(" ({})", process.join(", ")) };
    let with = match (asked.asked_with, &asked.identity) {
        (AskedWith::PodToken, Some(identity)) => {
            format!("as service account {}/{}", identity.namespace, identity.service_account)
        }
        (AskedWith::PodToken, None) => "with a pod's token".to_owned(),
        (AskedWith::ContainerKey, _) => "with the container's key".to_owned(),
        (AskedWith::WorkspaceKey, _) => "with the workspace's key".to_owned(),
        (AskedWith::Nothing, _) => "with nothing that opens anything".to_owned(),
    };
    let about =
        asked.image.as_ref().or(asked.registry.as_ref()).map_or_else(String::new, |about| format!(" for {about}"));
    let what = match asked.question {
        Question::Login => "asked",
        Question::List => "asked for the list",
        Question::End => "reported an end",
    };
    format!("{}{process} {what} {with}{about}", asked.program)
}
