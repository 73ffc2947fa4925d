// An orchestrator in JavaScript: what the CloudEvents SDK writes is published, and what is read goes through it.
import { readFileSync } from "node:fs";
import { connect, headers, credsAuthenticator } from "@nats-io/transport-node";
import { jetstream, JetStreamApiError } from "@nats-io/jetstream";
import { CloudEvent, HTTP } from "cloudevents";

const question = JSON.parse(readFileSync(0, "utf8"));
const { url, creds, inbox } = question.connection;
const authenticator = credsAuthenticator(readFileSync(creds));
const client = await connect({ servers: url, authenticator, inboxPrefix: inbox });
const stream = jetstream(client);

const { id, source, type, body } = question;
const written = HTTP.binary(new CloudEvent({ id, source, type, data: body }));
const publish = () => {
  const own = headers();
  Object.entries(written.headers).forEach(([name, value]) => own.set(name, value));
  const expect = { lastSubjectSequence: 0 };
  return stream.publish(question.subject, written.body, { msgID: id, expect, headers: own });
};
const told = await publish();
const repeated = await publish().then(
  (again) => (again.duplicate ? "duplicate" : "stored"),
  (error) => (error instanceof JetStreamApiError ? error.apiError().err_code : String(error)),
);

const consumer = await stream.consumers.get("WAYBILL", question.consumer);
let decision;
while (!decision) {
  const message = await consumer.next({ expires: 30_000 });
  if (!message) throw new Error("no decision came within 30 seconds");
  message.ack();
  const read = Object.fromEntries(message.headers.keys().map((name) => [name, message.headers.get(name)]));
  const event = HTTP.toEvent({ headers: { ...read, "content-type": read["ce-datacontenttype"] }, body: message.string() });
  if (event.causationid === id) decision = { type: event.type, causationid: id, data: event.data };
}
console.log(JSON.stringify({ placement: told.seq, repeated, decision }));
await client.drain();
