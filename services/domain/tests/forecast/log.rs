//! How a world is written to its log: the events of the real services, and a fleet that folds them.

use serde_json::{Value, json};
use waybill_schemas::{Envelope, Event, Recorded, RecordedEvent, Subject, Uuid, v1};

use crate::world::{World, time_at};

impl World {
    pub(crate) fn decide(&mut self, asked: &Value, secret: usize, is_over: bool) {
        let subject = Subject::ContainerDecision {
            worker_id: asked["worker_id"].as_str().unwrap().parse().unwrap(),
            workspace: "ws".parse().unwrap(),
            container_id: asked["container_id"].as_str().unwrap().parse().unwrap(),
            placement: asked["placement"].as_u64().unwrap(),
        };
        let mut body = asked.clone();
        body["secret_name"] = json!(secret_name(secret));
        if is_over {
            body["reason"] = json!("secret_expired");
            return self.say(subject, read::<v1::ContainerCredentialsSkipped>(body));
        }
        let more = json!({
            "image_ref": "a.b/c:1", "version": self.secrets[secret].version, "registry": "a.b", "cred_type": "basic",
            "credentials_length": 9, "saved_by": 1, "image_event": 2
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.say(subject, read::<v1::ContainerCredentialsAttached>(body));
    }

    pub(crate) fn report(&mut self, asked: &Value, failure: Option<&str>) {
        let subject = || Subject::ContainerOutcome {
            worker_id: asked["worker_id"].as_str().unwrap().parse().unwrap(),
            workspace: "ws".parse().unwrap(),
            container_id: asked["container_id"].as_str().unwrap().parse().unwrap(),
            placement: asked["placement"].as_u64().unwrap(),
        };
        let mut body = asked.clone();
        body["decided_by"] = json!(self.sequence);
        let mut provided = body.clone();
        provided["provider_name"] = json!("creds-a.b");
        self.say(subject(), read::<v1::CredentialProviderAttached>(provided));
        body["image_ref"] = json!("a.b/c:1");
        match failure {
            Some(reason) => {
                body["reason"] = json!(reason);
                self.say(subject(), read::<v1::ImagePullFailed>(body));
            }
            None => {
                body["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
                self.say(subject(), read::<v1::ImagePullSucceeded>(body));
            }
        }
    }

    /// The scheduler's keys: the present one, and perhaps the one before.
    pub(crate) fn publish_keys(&mut self, present: u8, with_earlier: bool) {
        let earlier = with_earlier.then(|| key_name(present - 1));
        let body = json!({ "sealing_key": key_name(present), "earlier_keys": earlier.into_iter().collect::<Vec<_>>() });
        self.say(Subject::SchedulerKeys, read::<v1::SchedulerKeyPublished>(body));
    }

    pub(crate) fn build(&mut self, image: usize) {
        let (workspace, image_id) = ("ws".parse().unwrap(), image_name(image).parse().unwrap());
        let body = json!({
            "workspace": "ws", "image_id": image_name(image), "image_ref": "a.b/c:1", "registry": "a.b",
            "secret_name": secret_name(self.images[image].secret), "source": "from_registry"
        });
        let subject = Subject::Image { workspace, image_id, build: "b".parse().unwrap() };
        self.say(subject, read::<v1::ImageSecretNamed>(body));
    }

    pub(crate) fn register(&mut self, worker: usize) {
        let body = json!({
            "worker_id": worker_name(worker), "instance": Uuid::from_u128(7),
            "sealing_key": "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT"
        });
        let subject = Subject::Worker { worker_id: worker_name(worker).parse().unwrap() };
        self.say(subject, read::<v1::WorkerRegistered>(body));
    }

    pub(crate) fn create_token(&mut self, token: usize, ends: i64) {
        // An heir is of the same workspace.
        let body = json!({
            "token_id": token_name(token), "roles": ["builder"], "hash": "0".repeat(64),
            "workspaces": [format!("ws-{}", token % 100)], "ends_at": time_at(ends)
        });
        let subject = Subject::Token { token_id: token_name(token).parse().unwrap() };
        self.say(subject, read::<v1::TokenCreated>(body));
    }

    pub(crate) fn say(&mut self, subject: Subject, event: Event) {
        self.sequence += 1;
        assert!(event.belongs_on(&subject), "{subject} {event:?}");
        let envelope = Envelope::new(Uuid::from_u128(u128::from(self.sequence)), "/test");
        let value = RecordedEvent { subject, envelope, event };
        self.fleet.apply(Recorded { sequence: self.sequence, at: time_at(self.now), value: &value });
    }
}

pub(crate) fn read<T: serde::de::DeserializeOwned + Into<Event>>(body: Value) -> Event {
    serde_json::from_value::<T>(body).unwrap().into()
}

pub(crate) fn secret_name(secret: usize) -> String {
    format!("s-{secret}")
}

pub(crate) fn image_name(image: usize) -> String {
    format!("i-{image}")
}

pub(crate) fn worker_name(worker: usize) -> String {
    format!("w-{worker}")
}

/// Its digits as letters, since base32 has no 0 and no 1.
pub(crate) fn key_name(key: u8) -> String {
    let letters: String = format!("{key:055}").bytes().map(|digit| char::from(digit - b'0' + b'A')).collect();
    format!("X{letters}")
}

pub(crate) fn token_name(token: usize) -> String {
    format!("t-{token}")
}
