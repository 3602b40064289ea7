package main

import (
	"fmt"
	"io"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// serve polls a task queue until the input ends.
func serve(connection client.Client, taskQueue string, input io.Reader, output io.Writer) error {
	served := worker.New(connection, taskQueue, worker.Options{WorkerStopTimeout: time.Second})
	for name, function := range map[string]any{
		node + "AddNode":    addNode,
		node + "DeleteNode": deleteNode,
		relay + "Relay":     relayNotes,
		relay + "Ping":      ping,
		relay + "Break":     breakDown,
	} {
		served.RegisterWorkflowWithOptions(function, workflow.RegisterOptions{Name: name})
	}
	for name, function := range map[string]any{
		node + "CreateVm":                 createVM,
		node + "WaitForVmReady":           waitForVMReady,
		node + "WaitForNodeToJoinCluster": waitForNodeToJoinCluster,
		node + "PublishVmJoined":          publishVMJoined,
		node + "DeleteVm":                 deleteVM,
		relay + "Tick":                    tick,
		relay + "Snap":                    snap,
	} {
		served.RegisterActivityWithOptions(function, activity.RegisterOptions{Name: name})
	}
	if err := served.Start(); err != nil {
		return err
	}
	defer served.Stop()
	if _, err := fmt.Fprintln(output, "ready"); err != nil {
		return err
	}
	<-end(input)
	return nil
}
