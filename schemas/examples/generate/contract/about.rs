//! What a client in another language has to know, in Markdown.

pub(super) const ABOUT: &str = r#"Every event is one message in the JetStream stream `WAYBILL`: CloudEvents 1.0 in binary mode (attributes as `ce-*` headers, the event type in `ce-type`), with a JSON body. The stream's sequence is the only order, its timestamp the only time.

**No credentials stand in the log**, sealed or not. They are in the vault, each version sealed to one reader; an event names the secret and its version and holds a digest of the sealed bytes.

## Words

- A *secret* is named credentials of one workspace for one registry host, in versions that count from 1. Its name may hold dots; in a subject each dot is written as `=`. A new version, whoever brings it, is the one that every image and container of the secret uses from then on.
- A *placement* is one request for one container on one worker. Its number is the stream sequence of its `ContainerRequested`, and every decision, outcome and end names it. A newer request for the same workspace and container supersedes it; what is said of an older placement changes nothing.

## Connect

Use the credentials file that `waybill init` made for you (`keys/orchestrator-<workspace>.creds`) and the inbox prefix `_INBOX_orchestrator-<workspace>`.

## Append exactly once

A subject names what is said and who says it, so that its last message answers whether it has been said. Publish with an acknowledgement and the header `Nats-Expected-Last-Subject-Sequence`, which the server compares with the last sequence of that exact subject; 0 stands for a subject without messages. Set no subject filter beside it.

To **request** a container, publish `ContainerRequested` on `waybill.events.container.<workspace>.<container_id>.<request>` and expect 0. `<request>` is an id of your own choice, the same whenever you send this request again: a UUID without dashes, or one derived from your own records. The acknowledgement's sequence is the placement: keep it and the subject.

To **end** the placement, publish `ContainerEnded` on the subject of its request and expect the placement.

To **retry**, publish the same message again: same subject, same `ce-id`, same `Nats-Msg-Id`, same expectation.

- An acknowledgement has the sequence. With `duplicate` in it, the event was recorded before, and the sequence is that of the first time.
- Error 10071 (wrong last sequence) means that this was said before: by you, or by another process with an id of its own. Servers check the expectation before the id, so it is the usual answer to a retry. Ask `$JS.API.DIRECT.GET.WAYBILL.<subject>` for the last message of the subject: it is the request, whose `Nats-Sequence` header is the placement, or its `ContainerEnded`, whose body names the placement.
- No acknowledgement, no responders and other errors of JetStream say nothing about the event: wait and retry.

## Read

The scheduler makes every consumer; nobody else may. Those of a workspace's orchestrators are pull consumers:

| consumer | filter |
|---|---|
| `orchestrator-<workspace>-decisions` | `waybill.events.decision.*.container.<workspace>.*.*` |
| `orchestrator-<workspace>-outcomes` | `waybill.events.outcome.*.<workspace>.*.*` |

Fetch from `$JS.API.CONSUMER.MSG.NEXT.WAYBILL.<consumer>`, asking for 30 s at most or with heartbeats, since the server forgets a request that has had no answer for 35 s, and acknowledge each message. A message may come more than once: what it says of a placement is told apart by `ce-id`. All processes of a workspace share its consumers.

A placement has one `ContainerCredentialsAttached` or `ContainerCredentialsSkipped`, and later at most one `ContainerCredentialsWithdrawn`. Its outcomes come in order: provider (attached or failed), then pull (succeeded or failed), then its end on the node. A renewed secret is said once for each worker, not for each container. What programs of a node ask a worker (`ContainerLoginAsked`, `NodeLoginAsked`) stands on subjects of its own, `waybill.events.outcome.<worker_id>.question…`, which these consumers do not deliver: nothing follows from it. What the gateway refused (`RequestRefused`) stands on `waybill.events.refused.…`, and nothing follows from that either.

## Ids

An event that follows from another one has that one's `ce-id` in `ce-causationid`, and an id that anybody can compute: UUIDv5 (RFC 9562) with the cause's `ce-id` as namespace and one of these names.

| event | cause | name |
|---|---|---|
| `ContainerCredentialsAttached`, `ContainerCredentialsSkipped` | the request | `decision` |
| `ContainerCredentialsWithdrawn` | the newer request, the end, the revocation or the shredding | `withdrawal:<placement>` |
| `WorkerCredentialsRenewed` | the new version's event, or the worker's registration | `renewal:<worker_id>:<secret_name>` |
| `ImageSecretNamed` | the version that the same build saved, where it saved one | `naming` |
| `CredentialProviderAttached`, `CredentialProviderFailed` | the decision | `provider` |
| `ImagePullSucceeded`, `ImagePullFailed` | the decision | `pull` |
| `SecretRenewalApplied`, `SecretRenewalFailed` | the renewal | `applied` |

Any other event has a fresh UUID. `ce-correlationid` is the id of the event that began the chain.

## Bodies

Bodies are strict: a field that the schema does not have, a word that it does not list, or an id that differs from the subject's makes the event unreadable, and it is quarantined. Leave an optional field out where it has no value.
"#;
