package main

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	relays "protopact.dev/interop/gen/relay/v1"
)

const relay = "relay.v1.RelayService."

func elsewhere(ctx workflow.Context, taskQueue string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           taskQueue,
		StartToCloseTimeout: 30 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
	})
}

// relayNotes does what the contract says of Relay. A query, an update and a signal without request take no parameter.
func relayNotes(ctx workflow.Context, request *relays.RelayRequest) (*relays.RelayResponse, error) {
	var notes []string
	closed := false
	at := func(index int32) (*string, error) {
		if index < 0 || int(index) >= len(notes) {
			damage := &relays.Damage{Part: "notes", Cents: int64(len(notes))}
			return nil, temporal.NewApplicationError("there is no such note", "NoSuchNote", damage)
		}
		return &notes[index], nil
	}
	err := errors.Join(
		workflow.SetQueryHandler(ctx, relay+"GetNotes", func() (*relays.GetNotesResponse, error) {
			return &relays.GetNotesResponse{Notes: notes}, nil
		}),
		workflow.SetQueryHandler(ctx, relay+"FindNote", func(request *relays.FindNoteRequest) (*relays.FindNoteResponse, error) {
			note, err := at(request.Index)
			if err != nil {
				return nil, err
			}
			return &relays.FindNoteResponse{Text: *note}, nil
		}),
		workflow.SetUpdateHandlerWithOptions(ctx, relay+"Amend",
			func(_ workflow.Context, request *relays.AmendRequest) (*relays.AmendResponse, error) {
				note, err := at(request.Index)
				if err != nil {
					return nil, err
				}
				previous := *note
				*note = request.Text
				return &relays.AmendResponse{Previous: previous}, nil
			},
			workflow.UpdateHandlerOptions{Validator: func(request *relays.AmendRequest) error {
				if request.Text == "" {
					return temporal.NewApplicationError("a text is needed", "TextMissing", &relays.Damage{Part: "text"})
				}
				return nil
			}},
		),
		workflow.SetUpdateHandler(ctx, relay+"Close", func(workflow.Context) error {
			closed = true
			return nil
		}),
	)
	if err != nil {
		return nil, err
	}
	hurries := workflow.GetSignalChannel(ctx, relay+"Hurry")
	taken := workflow.GetSignalChannel(ctx, relay+"Note")
	selector := workflow.NewSelector(ctx)
	selector.AddReceive(hurries, func(channel workflow.ReceiveChannel, _ bool) {
		channel.Receive(ctx, nil)
		notes = append(notes, "hurry")
	})
	selector.AddReceive(taken, func(channel workflow.ReceiveChannel, _ bool) {
		note := &relays.NoteRequest{}
		channel.Receive(ctx, note)
		notes = append(notes, note.Text)
	})
	for selector.HasPending() {
		selector.Select(ctx)
	}
	if err := workflow.ExecuteActivity(elsewhere(ctx, request.TaskQueue), relay+"Tick").Get(ctx, nil); err != nil {
		return nil, err
	}
	child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{TaskQueue: request.TaskQueue})
	// As generated Go code does, which gives a child of no request a nil.
	if err := workflow.ExecuteChildWorkflow(child, relay+"Ping", nil).Get(ctx, nil); err != nil {
		return nil, err
	}
	notes = append(notes, "relayed")
	for !closed || selector.HasPending() {
		if !selector.HasPending() {
			if err := workflow.Await(ctx, func() bool { return closed || selector.HasPending() }); err != nil {
				return nil, err
			}
			continue
		}
		selector.Select(ctx)
	}
	return &relays.RelayResponse{Notes: notes}, nil
}

func ping(workflow.Context) error { return nil }

// breakDown does what the contract says of Break.
func breakDown(ctx workflow.Context, request *relays.BreakRequest) error {
	if request.TaskQueue != "" {
		return workflow.ExecuteActivity(elsewhere(ctx, request.TaskQueue), relay+"Snap", request).Get(ctx, nil)
	}
	return failure(request)
}

func tick(context.Context) error { return nil }

func snap(_ context.Context, request *relays.BreakRequest) error { return failure(request) }

func failure(request *relays.BreakRequest) error {
	return temporal.NewApplicationErrorWithOptions(request.Message, request.Type, temporal.ApplicationErrorOptions{
		NonRetryable: request.NonRetryable,
		Cause:        temporal.NewApplicationError("a crack", "CrackError"),
		Details:      []any{request.Damage},
	})
}
