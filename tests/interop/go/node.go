package main

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/types/known/durationpb"

	nodes "protopact.dev/interop/gen/nodes/provisioning/v1"
)

const node = "nodes.provisioning.v1.NodeProvisionerService."

// provisioning is the state of an AddNode.
type provisioning struct {
	step        nodes.Step
	paused      bool
	machineType string
}

// addNode does what the contract says of AddNode.
func addNode(ctx workflow.Context, request *nodes.AddNodeRequest) (*nodes.AddNodeResponse, error) {
	state := &provisioning{machineType: request.MachineType}
	if err := state.listen(ctx); err != nil {
		return nil, err
	}
	response, err := state.provision(ctx, request.NodeId)
	if err == nil {
		return response, nil
	}
	state.step = nodes.Step_STEP_ROLLING_BACK
	remaining, _ := workflow.NewDisconnectedContext(ctx)
	remaining = workflow.WithActivityOptions(remaining, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	deletion := workflow.ExecuteActivity(remaining, node+"DeleteVm", &nodes.DeleteVmRequest{NodeId: request.NodeId})
	if failed := deletion.Get(remaining, nil); failed != nil {
		return nil, failed
	}
	return nil, err
}

func (state *provisioning) listen(ctx workflow.Context) error {
	status := func(*nodes.GetStatusRequest) (*nodes.GetStatusResponse, error) {
		return &nodes.GetStatusResponse{Step: state.step, Paused: state.paused, MachineType: state.machineType}, nil
	}
	if err := workflow.SetQueryHandler(ctx, node+"GetStatus", status); err != nil {
		return err
	}
	options := workflow.UpdateHandlerOptions{Validator: state.validateResize}
	if err := workflow.SetUpdateHandlerWithOptions(ctx, node+"Resize", state.resize, options); err != nil {
		return err
	}
	pauses := workflow.GetSignalChannel(ctx, node+"Pause")
	resumes := workflow.GetSignalChannel(ctx, node+"Resume")
	selector := workflow.NewSelector(ctx)
	selector.AddReceive(pauses, func(channel workflow.ReceiveChannel, _ bool) {
		channel.Receive(ctx, &nodes.PauseRequest{})
		state.paused = true
	})
	selector.AddReceive(resumes, func(channel workflow.ReceiveChannel, _ bool) {
		channel.Receive(ctx, &nodes.ResumeRequest{})
		state.paused = false
	})
	for selector.HasPending() { // what came with the start
		selector.Select(ctx)
	}
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			selector.Select(ctx)
		}
	})
	return nil
}

func (state *provisioning) validateResize(request *nodes.ResizeRequest) error {
	switch {
	case request.MachineType == "":
		return temporal.NewApplicationError("a machine type is needed", "MachineTypeMissing")
	case state.step != nodes.Step_STEP_UNSPECIFIED:
		return temporal.NewApplicationError("the virtual machine is being created already", "TooLate")
	default:
		return nil
	}
}

func (state *provisioning) resize(_ workflow.Context, request *nodes.ResizeRequest) (*nodes.ResizeResponse, error) {
	previous := state.machineType
	state.machineType = request.MachineType
	return &nodes.ResizeResponse{PreviousMachineType: previous}, nil
}

func (state *provisioning) begin(ctx workflow.Context, step nodes.Step) error {
	if err := workflow.Await(ctx, func() bool { return !state.paused }); err != nil {
		return err
	}
	state.step = step
	return nil
}

func (state *provisioning) provision(ctx workflow.Context, nodeID string) (*nodes.AddNodeResponse, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		HeartbeatTimeout:    10 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, MaximumAttempts: 5},
	})
	if err := state.begin(ctx, nodes.Step_STEP_CREATING_VM); err != nil {
		return nil, err
	}
	vm := &nodes.CreateVmResponse{}
	create := &nodes.CreateVmRequest{NodeId: nodeID, MachineType: state.machineType}
	if err := workflow.ExecuteActivity(ctx, node+"CreateVm", create).Get(ctx, vm); err != nil {
		return nil, err
	}
	if err := state.begin(ctx, nodes.Step_STEP_BOOTING); err != nil {
		return nil, err
	}
	ready := &nodes.WaitForVmReadyRequest{VmId: vm.VmId}
	if err := workflow.ExecuteActivity(ctx, node+"WaitForVmReady", ready).Get(ctx, nil); err != nil {
		return nil, err
	}
	if err := state.begin(ctx, nodes.Step_STEP_JOINING); err != nil {
		return nil, err
	}
	joined := &nodes.WaitForNodeToJoinClusterResponse{}
	join := &nodes.WaitForNodeToJoinClusterRequest{NodeId: nodeID}
	if err := workflow.ExecuteActivity(ctx, node+"WaitForNodeToJoinCluster", join).Get(ctx, joined); err != nil {
		return nil, err
	}
	publish := &nodes.PublishVmJoinedRequest{VmId: vm.VmId, NodeId: nodeID, Address: joined.Address}
	if err := workflow.ExecuteActivity(ctx, node+"PublishVmJoined", publish).Get(ctx, nil); err != nil {
		return nil, err
	}
	state.step = nodes.Step_STEP_DONE
	return &nodes.AddNodeResponse{VmId: vm.VmId, MachineType: state.machineType, Address: joined.Address}, nil
}

// deleteNode does what the contract says of DeleteNode.
func deleteNode(ctx workflow.Context, request *nodes.DeleteNodeRequest) (*nodes.DeleteNodeResponse, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	deletion := workflow.ExecuteActivity(ctx, node+"DeleteVm", &nodes.DeleteVmRequest{NodeId: request.NodeId})
	if err := deletion.Get(ctx, nil); err != nil {
		return nil, err
	}
	return &nodes.DeleteNodeResponse{}, nil
}

// createVM has no room for one machine type, and says which machine was asked for.
func createVM(_ context.Context, request *nodes.CreateVmRequest) (*nodes.CreateVmResponse, error) {
	if request.MachineType == "too-large" {
		return nil, temporal.NewNonRetryableApplicationError("no room", "QuotaExceededError", nil, request)
	}
	return &nodes.CreateVmResponse{VmId: "vm-" + request.NodeId}, nil
}

func waitForVMReady(ctx context.Context, _ *nodes.WaitForVmReadyRequest) (*nodes.WaitForVmReadyResponse, error) {
	activity.RecordHeartbeat(ctx, &nodes.BootProgress{Lines: 1})
	return &nodes.WaitForVmReadyResponse{BootTime: durationpb.New(1500 * time.Millisecond)}, nil
}

func waitForNodeToJoinCluster(
	_ context.Context, request *nodes.WaitForNodeToJoinClusterRequest,
) (*nodes.WaitForNodeToJoinClusterResponse, error) {
	return &nodes.WaitForNodeToJoinClusterResponse{Address: request.NodeId + ".cluster"}, nil
}

func publishVMJoined(context.Context, *nodes.PublishVmJoinedRequest) (*nodes.PublishVmJoinedResponse, error) {
	return &nodes.PublishVmJoinedResponse{Offset: 1 << 53}, nil
}

func deleteVM(context.Context, *nodes.DeleteVmRequest) (*nodes.DeleteVmResponse, error) {
	return &nodes.DeleteVmResponse{}, nil
}
