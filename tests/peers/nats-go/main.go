// An orchestrator in Go: what the CloudEvents SDK writes is published, and what is read goes through it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	ce "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type question struct {
	Connection struct {
		URL, Creds, Inbox string
	}
	Consumer, Subject, ID, Type, Source string
	Body                                json.RawMessage
}

type decision struct {
	Type        string          `json:"type"`
	CausationID string          `json:"causationid"`
	Data        json.RawMessage `json:"data"`
}

type answer struct {
	Placement uint64   `json:"placement"`
	Repeated  any      `json:"repeated"`
	Decision  decision `json:"decision"`
}

func main() {
	if err := orchestrate(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func orchestrate(ctx context.Context) error {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	user := nats.UserCredentials(asked.Connection.Creds)
	client, err := nats.Connect(asked.Connection.URL, user, nats.CustomInboxPrefix(asked.Connection.Inbox))
	if err != nil {
		return err
	}
	defer client.Close()
	stream, err := jetstream.New(client)
	if err != nil {
		return err
	}
	message, err := write(ctx, asked)
	if err != nil {
		return err
	}
	told, err := stream.PublishMsg(ctx, message, jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithMsgID(asked.ID))
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	said := answer{Placement: told.Sequence, Repeated: repeat(ctx, stream, message, asked.ID)}
	if said.Decision, err = readDecision(ctx, stream, asked); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}

// write makes the message as the SDK's own binding for JetStream does.
func write(ctx context.Context, asked question) (*nats.Msg, error) {
	requested := event.New()
	requested.SetID(asked.ID)
	requested.SetType(asked.Type)
	requested.SetSource(asked.Source)
	requested.SetTime(time.Now())
	if err := requested.SetData(event.ApplicationJSON, asked.Body); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	header, err := ce.WriteMsg(binding.WithForceBinary(ctx), binding.ToMessage(&requested), &body)
	return &nats.Msg{Subject: asked.Subject, Header: header, Data: body.Bytes()}, err
}

// repeat publishes once more, as after a lost acknowledgement: the log says that it is there.
func repeat(ctx context.Context, stream jetstream.JetStream, message *nats.Msg, id string) any {
	again, err := stream.PublishMsg(ctx, message, jetstream.WithExpectLastSequencePerSubject(0), jetstream.WithMsgID(id))
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused):
		return refused.ErrorCode
	case err != nil:
		return err.Error()
	case again.Duplicate:
		return "duplicate"
	}
	return "stored"
}

func readDecision(ctx context.Context, stream jetstream.JetStream, asked question) (decision, error) {
	consumer, err := stream.Consumer(ctx, "WAYBILL", asked.Consumer)
	if err != nil {
		return decision{}, err
	}
	for {
		message, err := consumer.Next(jetstream.FetchMaxWait(30 * time.Second))
		if err != nil {
			return decision{}, err
		}
		if err := message.Ack(); err != nil {
			return decision{}, err
		}
		stored := &nats.Msg{Subject: message.Subject(), Header: message.Headers(), Data: message.Data()}
		read, err := binding.ToEvent(ctx, ce.NewMessage(stored))
		if err != nil {
			return decision{}, fmt.Errorf("the SDK cannot read %s: %w", message.Subject(), err)
		}
		if cause, _ := read.Extensions()["causationid"].(string); cause == asked.ID {
			return decision{Type: read.Type(), CausationID: cause, Data: read.Data()}, nil
		}
	}
}
