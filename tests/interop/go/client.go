package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// message is one of protoc-gen-go's, by its full name.
type message struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

// command is what the client is asked to do: one line of its input.
type command struct {
	Do        string   `json:"do"`
	ID        string   `json:"id"`
	TaskQueue string   `json:"task_queue"`
	Workflow  string   `json:"workflow"`
	Name      string   `json:"name"`    // of the signal, query or update
	Request   *message `json:"request"` // of what Name is, or of the workflow
	Start     *message `json:"start"`   // the workflow's, where both are needed
	Response  string   `json:"response"`
	Detail    string   `json:"detail"` // type of the details that a failure may have
}

// failed is an error, in the terms that the SDKs share.
type failed struct {
	Kind         string    `json:"kind"`
	Message      string    `json:"message"`
	Type         string    `json:"type,omitempty"`
	NonRetryable bool      `json:"non_retryable,omitempty"`
	Details      []message `json:"details,omitempty"`
	Cause        *failed   `json:"cause,omitempty"`
}

// answer is one line of its output.
type answer struct {
	Response *message `json:"response,omitempty"`
	Failure  *failed  `json:"failure,omitempty"`
}

// obey does what each line says, one after the other.
func obey(connection client.Client, input io.Reader, output io.Writer) error {
	lines := bufio.NewScanner(input)
	answers := json.NewEncoder(output)
	for lines.Scan() {
		var asked command
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		response, err := asked.do(context.Background(), connection)
		told := answer{Response: response}
		if err != nil {
			told.Failure = explain(err, asked.Detail)
		}
		if err := answers.Encode(told); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (asked command) do(ctx context.Context, connection client.Client) (*message, error) {
	request, err := arguments(asked.Request)
	if err != nil {
		return nil, err
	}
	start, err := arguments(asked.Start)
	if err != nil {
		return nil, err
	}
	options := client.StartWorkflowOptions{ID: asked.ID, TaskQueue: asked.TaskQueue}
	switch asked.Do {
	case "start":
		_, err := connection.ExecuteWorkflow(ctx, options, asked.Workflow, request...)
		return nil, err
	case "result":
		return receive(asked.Response, func(into any) error {
			return connection.GetWorkflow(ctx, asked.ID, "").Get(ctx, into)
		})
	case "signal":
		return nil, connection.SignalWorkflow(ctx, asked.ID, "", asked.Name, only(request))
	case "signal_with_start":
		_, err := connection.SignalWithStartWorkflow(
			ctx, asked.ID, asked.Name, only(request), options, asked.Workflow, start...)
		return nil, err
	case "query":
		found, err := connection.QueryWorkflow(ctx, asked.ID, "", asked.Name, request...)
		if err != nil {
			return nil, err
		}
		return receive(asked.Response, found.Get)
	case "update":
		handle, err := connection.UpdateWorkflow(ctx, asked.update(request))
		if err != nil {
			return nil, err
		}
		return receive(asked.Response, func(into any) error { return handle.Get(ctx, into) })
	case "update_with_start":
		options.WorkflowIDConflictPolicy = 1 // FAIL
		handle, err := connection.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
			StartWorkflowOperation: connection.NewWithStartWorkflowOperation(options, asked.Workflow, start...),
			UpdateOptions:          asked.update(request),
		})
		if err != nil {
			return nil, err
		}
		return receive(asked.Response, func(into any) error { return handle.Get(ctx, into) })
	default:
		return nil, fmt.Errorf("unknown command %q", asked.Do)
	}
}

func (asked command) update(request []any) client.UpdateWorkflowOptions {
	return client.UpdateWorkflowOptions{
		WorkflowID:   asked.ID,
		UpdateName:   asked.Name,
		Args:         request,
		WaitForStage: client.WorkflowUpdateStageCompleted,
	}
}

// arguments are the request, or nothing when there is none.
func arguments(request *message) ([]any, error) {
	if request == nil {
		return nil, nil
	}
	made, err := empty(request.Type)
	if err != nil {
		return nil, err
	}
	return []any{made}, protojson.Unmarshal(request.Value, made)
}

// only is the one argument of a signal: nil, which is written as `binary/null`, when it has no request.
func only(request []any) any {
	if len(request) == 0 {
		return nil
	}
	return request[0]
}

func empty(name string) (proto.Message, error) {
	found, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		return nil, err
	}
	return found.New().Interface(), nil
}

// receive gets a message of a type, or waits alone when nothing comes.
func receive(name string, get func(any) error) (*message, error) {
	if name == "" {
		return nil, get(nil)
	}
	into, err := empty(name)
	if err != nil {
		return nil, err
	}
	if err := get(into); err != nil {
		return nil, err
	}
	return write(into)
}

func write(value proto.Message) (*message, error) {
	text, err := protojson.Marshal(value)
	return &message{Type: string(value.ProtoReflect().Descriptor().FullName()), Value: text}, err
}

// explain tells an error in the terms that the SDKs share.
func explain(err error, detail string) *failed {
	if err == nil {
		return nil
	}
	told := &failed{Kind: fmt.Sprintf("%T", err), Message: err.Error(), Cause: explain(errors.Unwrap(err), detail)}
	var (
		application *temporal.ApplicationError
		activity    *temporal.ActivityError
		child       *temporal.ChildWorkflowExecutionError
		canceled    *temporal.CanceledError
		execution   *temporal.WorkflowExecutionError
	)
	switch {
	case as(err, &application):
		told.Kind, told.Message = "application", application.Message()
		told.Type, told.NonRetryable = application.Type(), application.NonRetryable()
		if application.HasDetails() && detail != "" {
			told.Details = details(application, detail)
		}
	case as(err, &activity):
		told.Kind, told.Type = "activity", activity.ActivityType().GetName()
	case as(err, &child):
		told.Kind, told.Type = "child", child.WorkflowType()
	case as(err, &canceled):
		told.Kind = "cancelled"
	case as(err, &execution):
		told.Kind = "workflow"
	}
	return told
}

// as tells whether the error itself, and not one of its causes, is of the type.
func as[E error](err error, into *E) bool {
	found, is := err.(E)
	if is {
		*into = found
	}
	return is
}

func details(err *temporal.ApplicationError, name string) []message {
	into, failed := empty(name)
	if failed == nil {
		failed = err.Details(into)
	}
	if failed == nil {
		var told *message
		if told, failed = write(into); failed == nil {
			return []message{*told}
		}
	}
	text, _ := json.Marshal(failed.Error())
	return []message{{Type: "unreadable", Value: text}}
}
