//! Refused requests: the newest about each thing, until one about it is accepted.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use waybill_schemas::{Event, Recorded, RecordedEvent, v1::RequestRefused};

use super::{About, Cause, Fleet, Moment, Standing};
use crate::explain::{Code, hop_of, refusal_remedy, refusal_sentence};

/// Most things of which a refusal is kept, the newest.
const MOST_REFUSED: usize = 10_000;

/// What a refused request is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thing {
    /// None where it belongs to no workspace.
    pub(super) workspace: Option<Box<str>>,
    pub(super) kind: Kind,
    pub(super) id: Box<str>,
}

/// Kind of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Container,
    Image,
    Secret,
    /// The request named no valid thing: its operation stands in the thing's place.
    Unnamed,
}

/// The newest refusal of requests about a thing.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) place: (u64, Moment),
    /// The first with the same answer.
    pub(super) first: (u64, Moment),
    pub(super) cause: Arc<Cause>,
    pub(super) sentence: Box<str>,
    pub(super) remedy: Box<str>,
}

/// Refusals that nothing was accepted after.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_thing: BTreeMap<Thing, Refusal>,
    /// Things in the order of their refusals, the oldest first. One that was refused again stands here more than once.
    order: VecDeque<(u64, Thing)>,
}

impl Refusals {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Thing, &Refusal)> {
        self.by_thing.iter()
    }

    /// Why the newest build of an image was refused, where none was recorded since.
    pub(super) fn cause_of_image(&self, workspace: &str, image: &str) -> Option<Arc<Cause>> {
        let (workspace, id) = (Some(workspace.into()), image.into());
        let refusal = self.by_thing.get(&Thing { workspace, kind: Kind::Image, id })?;
        Some(refusal.cause.clone())
    }

    fn insert(&mut self, thing: Thing, mut refusal: Refusal) {
        if let Some(known) = self.by_thing.get(&thing).filter(|known| known.cause == refusal.cause) {
            refusal.first = known.first;
        }
        self.order.push_back((refusal.place.0, thing.clone()));
        self.by_thing.insert(thing, refusal);
        while self.order.len() > MOST_REFUSED {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((sequence, thing)) = self.order.pop_front() else { return };
        if self.by_thing.get(&thing).is_some_and(|refusal| refusal.place.0 == sequence) {
            self.by_thing.remove(&thing);
        }
    }

    fn forget_before(&mut self, oldest: Moment) {
        let is_old = |by_thing: &BTreeMap<Thing, Refusal>, (sequence, thing): &(u64, Thing)| {
            // One that was refused again, or accepted, is told of by another entry or by none.
            by_thing.get(thing).is_none_or(|refusal| refusal.place.0 != *sequence || refusal.place.1 < oldest)
        };
        while self.order.front().is_some_and(|front| is_old(&self.by_thing, front)) {
            self.forget_oldest();
        }
    }
}

impl Fleet {
    /// Takes a refusal. Placements that wait for a build that was refused are told so.
    pub(super) fn refuse_request(&mut self, recorded: Recorded<&RecordedEvent>, refused: &RequestRefused) {
        let place = (recorded.sequence, Moment::from(recorded.at));
        let field = refused.field.as_ref().map_or_else(String::new, |field| format!(" {field}"));
        let about = About::Request(format!("{}{field}", refused.code).into());
        let cause = self.intern(Cause { hop: hop_of(refused.operation), code: Code::RequestRefused, about });
        if let (Some(workspace), Some(image)) = (&refused.workspace, &refused.image_id) {
            self.blame_build(workspace.as_str(), image.as_str(), &cause);
        }
        let Recorded { sequence, at, value } = recorded;
        let told = Recorded { sequence, at, value: refused };
        let refusal = Refusal {
            place,
            first: place,
            cause,
            sentence: refusal_sentence(told, value.envelope.actor.as_deref()).into(),
            remedy: refusal_remedy(refused).into(),
        };
        self.refusals.insert(thing_of(refused), refusal);
    }

    /// Placements that failed for want of a build failed because that build was refused.
    fn blame_build(&mut self, workspace: &str, image: &str, cause: &Arc<Cause>) {
        let key = (self.name(workspace), Box::from(image));
        for failure in self.unbuilt.get(&key).into_iter().flatten() {
            let Some(failure) = self.failures.get_mut(failure) else { continue };
            if let Some(row) = self.rows.get_mut(&failure.placement)
                && row.standing == Standing::Broken(failure.cause.clone())
            {
                row.standing = Standing::Broken(cause.clone());
            }
            failure.cause = cause.clone();
        }
    }

    /// Forgets the refusals about a thing once something is recorded about it.
    pub(super) fn accept_request(&mut self, event: &Event) {
        let named = match event {
            Event::ImageSecretNamed(event) => Some((&event.workspace, Kind::Image, event.image_id.as_str())),
            Event::CredentialSecretSkipped(event) => Some((&event.workspace, Kind::Image, event.image_id.as_str())),
            Event::ContainerRequested(event) => Some((&event.workspace, Kind::Container, event.container_id.as_str())),
            Event::ContainerEnded(event) => Some((&event.workspace, Kind::Container, event.container_id.as_str())),
            Event::CredentialSecretSaved(event) => Some((&event.workspace, Kind::Secret, event.secret_name.as_str())),
            Event::CredentialSecretRotated(event) => Some((&event.workspace, Kind::Secret, event.secret_name.as_str())),
            Event::CredentialSecretRevoked(event) => Some((&event.workspace, Kind::Secret, event.secret_name.as_str())),
            Event::CredentialSecretShredded(event) => {
                Some((&event.workspace, Kind::Secret, event.secret_name.as_str()))
            }
            _ => None,
        };
        if self.refusals.by_thing.is_empty() {
            return;
        }
        if let Some((workspace, kind, id)) = named {
            let thing = Thing { workspace: Some(workspace.as_str().into()), kind, id: id.into() };
            self.refusals.by_thing.remove(&thing);
        }
    }

    /// Forgets refusals that are older than failures are kept.
    pub(super) fn forget_refusals(&mut self, oldest: Moment) {
        self.refusals.forget_before(oldest);
    }
}

fn thing_of(refused: &RequestRefused) -> Thing {
    let workspace = refused.workspace.as_ref().map(|workspace| workspace.as_str().into());
    let RequestRefused { container_id, image_id, secret_name, operation, .. } = refused;
    let (kind, id) = match (container_id, image_id, secret_name) {
        (Some(id), ..) => (Kind::Container, id.as_str()),
        (_, Some(id), _) => (Kind::Image, id.as_str()),
        (_, _, Some(name)) => (Kind::Secret, name.as_str()),
        _ => (Kind::Unnamed, operation.as_str()),
    };
    Thing { workspace, kind, id: id.into() }
}
