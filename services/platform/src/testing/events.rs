//! Events of a workspace of its own, so that checks can share a log.

use waybill_schemas::{
    ContainerId, Envelope, Event, Filter, Subject, Uuid, WorkerId, WorkspaceId,
    v1::{ContainerCredentialsWithdrawn, ContainerEnded, ContainerRequested, WithdrawReason, WorkerRegistered},
};

use crate::{log::NewEvent, sealing::PrivateKey};

/// Makes events of one fresh workspace and one fresh worker.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The worker.
    pub worker_id: WorkerId,
}

impl Default for Sample {
    fn default() -> Self {
        Self::new()
    }
}

impl Sample {
    /// A workspace and a worker that no other check has.
    pub fn new() -> Self {
        let id = Uuid::new_v4().simple();
        Self { workspace: format!("ws-{id}").parse().unwrap(), worker_id: format!("w-{id}").parse().unwrap() }
    }

    /// The request of a container.
    pub fn request(&self, container: &str, request: &str) -> NewEvent {
        let container_id: ContainerId = container.parse().unwrap();
        let event = ContainerRequested {
            workspace: self.workspace.clone(),
            container_id: container_id.clone(),
            image_id: None,
            worker_id: self.worker_id.clone(),
            build_container: false,
        };
        let (workspace, request) = (self.workspace.clone(), request.parse().unwrap());
        new_event(Subject::Container { workspace, container_id, request }, event.into())
    }

    /// The end of a placement, on its request's subject.
    pub fn end(&self, request: &NewEvent, placement: u64) -> NewEvent {
        let Subject::Container { container_id, .. } = &request.subject else { panic!("not a request") };
        let event = ContainerEnded { workspace: self.workspace.clone(), container_id: container_id.clone(), placement };
        new_event(request.subject.clone(), event.into())
    }

    /// The withdrawal of a placement.
    pub fn withdrawal(&self, container: &str, placement: u64) -> NewEvent {
        let (workspace, worker_id) = (self.workspace.clone(), self.worker_id.clone());
        let container_id: ContainerId = container.parse().unwrap();
        let event = ContainerCredentialsWithdrawn {
            workspace: workspace.clone(),
            container_id: container_id.clone(),
            placement,
            worker_id: worker_id.clone(),
            secret_name: None,
            reason: WithdrawReason::Ended,
            caused_by: placement,
        };
        new_event(Subject::ContainerDecision { worker_id, workspace, container_id, placement }, event.into())
    }

    /// A registration of the worker.
    pub fn registration(&self) -> NewEvent {
        let worker_id = self.worker_id.clone();
        let key = PrivateKey::generate().public().unwrap();
        let event = WorkerRegistered {
            worker_id: worker_id.clone(),
            instance: Uuid::new_v4(),
            sealing_key: key.text().clone(),
        };
        new_event(Subject::Worker { worker_id }, event.into())
    }

    /// Requests and ends of a container of this workspace, or of all.
    pub fn containers(&self, container: Option<&str>) -> Filter {
        Filter::Container(Some(self.workspace.clone()), container.map(|id| id.parse().unwrap()))
    }
}

fn new_event(subject: Subject, event: Event) -> NewEvent {
    NewEvent { subject, envelope: Envelope::new(Uuid::new_v4(), "/waybill/test"), event }
}
