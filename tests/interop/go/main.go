// Command interop is the Go side of a border: a worker and a client, written by hand on Temporal's Go SDK and on what
// protoc-gen-go makes of the contracts. Each serves until its standard input ends.
//
//	interop worker ADDRESS NAMESPACE TASK_QUEUE
//	interop client ADDRESS NAMESPACE
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) < 3 {
		return fmt.Errorf("expected worker ADDRESS NAMESPACE TASK_QUEUE or client ADDRESS NAMESPACE, found %q", arguments)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connection, err := client.DialContext(ctx, client.Options{
		HostPort:  arguments[1],
		Namespace: arguments[2],
		Logger:    log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
	})
	if err != nil {
		return err
	}
	defer connection.Close()
	switch {
	case arguments[0] == "worker" && len(arguments) == 4:
		return serve(connection, arguments[3], os.Stdin, os.Stdout)
	case arguments[0] == "client" && len(arguments) == 3:
		return obey(connection, os.Stdin, os.Stdout)
	default:
		return fmt.Errorf("unknown command %q", arguments)
	}
}

// end is closed when nothing more can be read.
func end(input io.Reader) <-chan any {
	ended := make(chan any)
	go func() {
		_, _ = io.Copy(io.Discard, input)
		close(ended)
	}()
	return ended
}
