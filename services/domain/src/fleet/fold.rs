//! The fold: what each event changes in the picture of the fleet.

use std::sync::Arc;

use waybill_schemas::{
    Event, Recorded, RecordedEvent, Subject, Timestamp, WorkerId,
    v1::{
        AttachSkipReason, ContainerRequested, ProviderFailure, PullFailure, SaveSkipReason, SequenceRange,
        WithdrawReason,
    },
};

use super::{
    About, Cause, Failure, Fleet, KEPT_HOURS, MOST_KEPT, Moment, Row, Standing, Target,
    cause::{Involved, of_provider, of_pull, of_skip},
};
use crate::explain::{Code, Hop, wants_credentials};

const HOUR_MICROS: i64 = 3_600_000_000;

impl Fleet {
    /// Takes the next event of the log.
    pub fn apply(&mut self, recorded: Recorded<&RecordedEvent>) {
        let Recorded { sequence, at, value: RecordedEvent { subject, event, .. } } = recorded;
        self.pass(sequence, at);
        let now = (sequence, Moment::from(at));
        self.hear(subject, now);
        self.note_habits(event, now);
        self.accept_request(event);
        match event {
            Event::RequestRefused(refused) => self.refuse_request(recorded, refused),
            Event::ImageSecretNamed(event) => self.note_build(event.workspace.as_str(), event.image_id.as_str(), None),
            Event::CredentialSecretSkipped(event) => {
                self.note_build(event.workspace.as_str(), event.image_id.as_str(), Some(event.reason));
            }
            Event::ContainerRequested(request) => self.request(request, now),
            Event::ContainerEnded(ended) => {
                self.note_end(ended.placement, now.1);
                self.forget(ended.placement);
            }
            Event::ContainerCredentialsAttached(event) => {
                let target = (Some(event.secret_name.as_str()), Some(event.registry.as_str()));
                let ends = event.expires_at.map(Moment::from);
                self.decide(
                    event.placement,
                    target,
                    |row| {
                        row.ends = ends;
                        Ok(Standing::Open(Code::AwaitingProvider))
                    },
                    now,
                );
            }
            Event::ContainerCredentialsSkipped(event) => {
                let target = (event.secret_name.as_ref().map(|name| name.as_str()), event.registry.as_deref());
                let build = self.why_no_secret(event.image_event, event.placement);
                self.decide(event.placement, target, |row| row.refuse(event.reason, build), now);
            }
            Event::ContainerCredentialsWithdrawn(event) => match event.reason {
                WithdrawReason::Superseded | WithdrawReason::Ended => self.forget(event.placement),
                WithdrawReason::SecretRevoked | WithdrawReason::SecretShredded | WithdrawReason::WorkerRetired => {
                    self.update(event.placement, now, |row| {
                        // A failure after that follows from it: the worker broke off what it was doing.
                        let first = matches!(row.standing, Standing::Broken(_)) && row.since.0 < event.caused_by;
                        (!first).then(|| Err(row.withdraw(event.reason)))
                    });
                }
            },
            Event::SecretRenewalApplied(event) => {
                self.renew((&event.worker_id, event.workspace.as_str(), event.secret_name.as_str()), None, now);
            }
            Event::SecretRenewalFailed(event) => {
                let secret = (&event.worker_id, event.workspace.as_str(), event.secret_name.as_str());
                self.renew(secret, Some(event.reason), now);
            }
            Event::PlacementsArchived(archived) => self.forget_archived(&archived.sequences),
            event => self.take_outcome(subject, event, now),
        }
    }

    /// Passes a message that cannot be read. A placement that it is about goes no further.
    pub fn pass_unreadable(&mut self, sequence: u64, at: Timestamp, subject: Option<&Subject>) {
        self.pass(sequence, at);
        let (Some(Subject::ContainerDecision { placement, .. }) | Some(Subject::ContainerOutcome { placement, .. })) =
            subject
        else {
            return;
        };
        self.update(*placement, (sequence, at.into()), |row| match &row.standing {
            Standing::Open(_) => {
                let about = About::Worker((&*row.worker).into());
                Some(Err(Cause { hop: row.standing.hop(), code: Code::Quarantined, about }))
            }
            _ => None,
        });
    }

    fn pass(&mut self, sequence: u64, at: Timestamp) {
        let now = Moment::from(at);
        (self.position, self.at) = (sequence, Some(now));
        let oldest = Moment(now.0.saturating_sub(KEPT_HOURS.saturating_mul(HOUR_MICROS)));
        self.forget_refusals(oldest);
        loop {
            let crowded = self.failures.len() > MOST_KEPT;
            let Some(first) = self.failures.first_entry().filter(|first| crowded || first.get().at < oldest) else {
                return;
            };
            let gone = first.remove();
            self.complete_from = Some(Moment(gone.at.0.saturating_add(1)));
            // Nobody but the set and the failure that goes has it.
            if Arc::strong_count(&gone.cause) == 2 {
                self.causes.remove(&gone.cause);
            }
        }
    }

    pub(super) fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    /// The image's newest build counts; one that came late tells what was wrong before.
    fn note_build(&mut self, workspace: &str, image: &str, skipped: Option<SaveSkipReason>) {
        let key = (self.name(workspace), Box::from(image));
        self.note_rebuilt(&key);
        for failure in self.unbuilt.remove(&key).unwrap_or_default() {
            let cause = Cause { hop: Hop::Saved, code: Code::SavedAfterRequest, about: About::Workspace };
            let cause = self.intern(cause);
            let Some(failure) = self.failures.get_mut(&failure) else { continue };
            if let Some(row) = self.rows.get_mut(&failure.placement)
                && row.standing == Standing::Broken(failure.cause.clone())
            {
                row.standing = Standing::Broken(cause.clone());
            }
            failure.cause = cause;
        }
        match skipped.filter(|reason| *reason != SaveSkipReason::PublicRegistry) {
            Some(reason) => self.builds.insert(key, reason),
            None => self.builds.remove(&key),
        };
    }

    fn request(&mut self, request: &ContainerRequested, now: (u64, Moment)) {
        let (workspace, worker) = (self.name(request.workspace.as_str()), self.name(request.worker_id.as_str()));
        let container: Arc<str> = request.container_id.as_str().into();
        if let Some(older) = self.newest.insert((workspace.clone(), container.clone()), now.0) {
            // Dropped from every index but this one, which names the newer placement by now.
            self.drop_row(older);
        }
        self.on_worker.entry(worker.clone()).or_default().insert(now.0);
        self.open.insert(now.0);
        let row = Row {
            workspace,
            worker,
            container,
            image: request.image_id.as_ref().map(|image| image.as_str().into()),
            target: None,
            requested: now.1,
            ends: None,
            skip: None,
            build: None,
            pulled: false,
            standing: Standing::Open(Code::AwaitingDecision),
            since: now,
        };
        self.rows.insert(now.0, row);
    }

    fn drop_row(&mut self, placement: u64) -> Option<Row> {
        let row = self.rows.remove(&placement)?;
        self.open.remove(&placement);
        if let Some(placements) = self.on_worker.get_mut(&row.worker) {
            placements.remove(&placement);
        }
        Some(row)
    }

    fn forget(&mut self, placement: u64) {
        let Some(row) = self.drop_row(placement) else { return };
        self.newest.remove(&(row.workspace, row.container));
    }

    /// What left the log is over, although its end may not have been read: it was deleted while the log was.
    fn forget_archived(&mut self, ranges: &[SequenceRange]) {
        for SequenceRange { first, last } in ranges {
            let gone: Vec<u64> = self.rows.range(first..=last).map(|(placement, _)| *placement).collect();
            gone.into_iter().for_each(|placement| self.forget(placement));
        }
    }

    /// Why the build that a decision found has no secret; none where it found no build.
    fn why_no_secret(&self, found: Option<u64>, placement: u64) -> Option<SaveSkipReason> {
        found?;
        let row = self.rows.get(&placement)?;
        let key = (row.workspace.clone(), row.image.clone()?);
        Some(self.builds.get(&key).copied().unwrap_or(SaveSkipReason::PublicRegistry))
    }

    fn decide(
        &mut self,
        placement: u64,
        (secret, registry): (Option<&str>, Option<&str>),
        change: impl FnOnce(&mut Row) -> Result<Standing, Cause>,
        now: (u64, Moment),
    ) {
        let target = Target { secret: secret.map(Box::from), registry: registry.map(Box::from) };
        let known = self.targets.get(&target).cloned();
        let target = known.unwrap_or_else(|| Arc::new(target));
        self.targets.insert(target.clone());
        self.update(placement, now, |row| {
            if row.standing != Standing::Open(Code::AwaitingDecision) {
                return None;
            }
            row.target = Some(target);
            Some(change(row))
        });
    }

    /// What a worker reports of its own placement. The first report of its kind counts.
    fn take_outcome(&mut self, subject: &Subject, event: &Event, now: (u64, Moment)) {
        let Subject::ContainerOutcome { worker_id, placement, .. } = subject else { return };
        self.update(*placement, now, |row| {
            if &*row.worker != worker_id.as_str() {
                return None;
            }
            match (event, &row.standing) {
                (Event::CredentialProviderAttached(event), Standing::Open(Code::AwaitingProvider)) => {
                    row.ends = row.ends.into_iter().chain(event.token_expires_at.map(Moment::from)).min();
                    Some(Ok(Standing::Open(Code::AwaitingPull)))
                }
                (Event::CredentialProviderFailed(event), Standing::Open(Code::AwaitingProvider)) => {
                    Some(Err(row.fail_provider(event.reason, now.1)))
                }
                (Event::ImagePullSucceeded(_), Standing::Open(Code::AwaitingProvider | Code::AwaitingPull)) => {
                    row.pulled = true;
                    Some(Ok(Standing::Pulled))
                }
                (Event::ImagePullFailed(event), Standing::Open(Code::AwaitingProvider | Code::AwaitingPull)) => {
                    Some(Err(row.fail_pull(event.reason, now.1)))
                }
                _ => None,
            }
        });
        let taken = self.rows.get(placement).filter(|row| row.since == now).map(|row| &row.standing);
        match (event, taken) {
            (Event::ImagePullSucceeded(_), Some(Standing::Pulled)) => self.note_pull(*placement, None, now),
            (Event::ImagePullFailed(_), Some(Standing::Broken(cause))) => {
                let cause = cause.clone();
                self.note_pull(*placement, Some(&cause), now);
            }
            _ => {}
        }
    }

    /// A worker took a new version for all its placements that have the secret, or could not.
    fn renew(
        &mut self,
        (worker, workspace, secret): (&WorkerId, &str, &str),
        failed: Option<ProviderFailure>,
        now: (u64, Moment),
    ) {
        let placements: Vec<u64> = self.on_worker.get(worker.as_str()).into_iter().flatten().copied().collect();
        for placement in placements {
            self.update(placement, now, |row| {
                let has = row.target.as_ref().is_some_and(|target| target.secret.as_deref() == Some(secret));
                if !has || &*row.workspace != workspace {
                    return None;
                }
                match (failed, &row.standing) {
                    (Some(reason), Standing::Pulled) => Some(Err(row.fail_provider(reason, now.1))),
                    (None, Standing::Broken(cause)) if row.pulled && cause.hop == Hop::Provider => {
                        Some(Ok(Standing::Pulled))
                    }
                    _ => None,
                }
            });
        }
    }

    /// Changes a row, and notes a failure.
    fn update(
        &mut self,
        placement: u64,
        now: (u64, Moment),
        change: impl FnOnce(&mut Row) -> Option<Result<Standing, Cause>>,
    ) {
        let Some(row) = self.rows.get_mut(&placement) else { return };
        let Some(changed) = change(row) else { return };
        row.since = now;
        match changed {
            Ok(standing) => {
                if !matches!(standing, Standing::Open(_)) {
                    self.open.remove(&placement);
                }
                row.standing = standing;
            }
            Err(cause) => self.fail(placement, cause, now),
        }
    }

    fn fail(&mut self, placement: u64, cause: Cause, (sequence, at): (u64, Moment)) {
        let unbuilt = cause.code == Code::NothingBuilt;
        let refused = self
            .rows
            .get(&placement)
            .filter(|_| unbuilt)
            .and_then(|row| self.refusals.cause_of_image(&row.workspace, row.image.as_deref()?));
        let cause = refused.unwrap_or_else(|| self.intern(cause));
        self.open.remove(&placement);
        let Some(row) = self.rows.get_mut(&placement) else { return };
        row.standing = Standing::Broken(cause.clone());
        let failure = Failure {
            at,
            placement,
            workspace: row.workspace.clone(),
            worker: row.worker.clone(),
            container: row.container.clone(),
            image: row.image.clone(),
            target: row.target.clone(),
            cause,
        };
        if let Some(image) = failure.image.clone().filter(|_| unbuilt) {
            self.unbuilt.entry((failure.workspace.clone(), image)).or_default().push((sequence, placement));
        }
        self.failures.insert((sequence, placement), failure);
    }

    pub(super) fn intern(&mut self, cause: Cause) -> Arc<Cause> {
        if let Some(known) = self.causes.get(&cause) {
            return known.clone();
        }
        let cause = Arc::new(cause);
        self.causes.insert(cause.clone());
        cause
    }
}

impl Row {
    fn involved(&self) -> Involved<'_> {
        Involved {
            worker: &self.worker,
            image: self.image.as_deref(),
            secret: self.target.as_ref().and_then(|target| target.secret.as_deref()),
            registry: self.target.as_ref().and_then(|target| target.registry.as_deref()),
        }
    }

    /// A decision to give none. Where that withholds no credentials, the pull tells whether some were needed.
    fn refuse(&mut self, reason: AttachSkipReason, build: Option<SaveSkipReason>) -> Result<Standing, Cause> {
        (self.skip, self.build) = (Some(reason), build);
        match reason.withholds_credentials() {
            true => Err(of_skip(reason, build, self.involved())),
            false => Ok(Standing::Open(Code::AwaitingProvider)),
        }
    }

    fn withdraw(&self, reason: WithdrawReason) -> Cause {
        let involved = self.involved();
        let about = match reason {
            WithdrawReason::WorkerRetired => involved.worker(),
            _ => involved.secret(),
        };
        Cause { hop: Hop::Withdrawn, code: reason.into(), about }
    }

    fn is_ended(&self, now: Moment) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }

    fn fail_provider(&self, reason: ProviderFailure, now: Moment) -> Cause {
        let cause = of_provider(reason, self.involved());
        match reason {
            ProviderFailure::TokenExchangeFailed if self.is_ended(now) => {
                Cause { code: Code::ExpiredBeforePull, ..cause }
            }
            _ => cause,
        }
    }

    /// Where the registry wants credentials and there are none, the first hop that broke is the one that has none.
    fn fail_pull(&self, reason: PullFailure, now: Moment) -> Cause {
        let missing = self.skip.map(|skip| of_skip(skip, self.build, self.involved()));
        match missing.filter(|cause| wants_credentials(reason, cause.code)) {
            Some(cause) => cause,
            None => of_pull(reason, self.is_ended(now), self.involved()),
        }
    }
}
