// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
)

// Mark is the label of the Node and the key of its taint, both with the value "true": a pod lands here only if it
// selects the one and tolerates the other.
const Mark = "outrigger.dev/local"

// Options say what the node is called and what it can run.
type Options struct {
	// Config reaches the API server with the rights of an administrator; its server and CA also go into the
	// KUBECONFIG of the containers.
	Config *rest.Config
	// APIServer is the URL by which the containers reach the API server; Config's server if empty.
	APIServer string
	// NodeName is the name of the Node; "local" if empty.
	NodeName string
	// KubeletVersion is what the Node says it runs; "v1.37.2" if empty.
	KubeletVersion string
	// Images maps the image of a pod's container to the path of the binary that is its entrypoint. A pod with another
	// image waits with ErrImagePull, as it would on a node without a registry.
	Images map[string]string
	// Dir receives volumes and logs; it must exist.
	Dir string
	// Log receives a line for everything the node does; nil discards it.
	Log io.Writer
}

// Node is a running node.
type Node struct {
	options Options
	client  kubernetes.Interface
	log     *log.Logger
	block   *addressBlock
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup

	logsPort int

	mu   sync.Mutex
	pods map[types.UID]*pod
}

// Start registers the Node and runs what is bound to it until Close is called or ctx ends. It returns when the Node
// is Ready in the API and the pods bound to it are known. An error names the step that failed.
func Start(ctx context.Context, options Options) (*Node, error) {
	if options.NodeName == "" {
		options.NodeName = "local"
	}
	if options.KubeletVersion == "" {
		options.KubeletVersion = "v1.37.2"
	}
	if options.Log == nil {
		options.Log = io.Discard
	}
	for image, binary := range options.Images {
		if _, err := os.Stat(binary); err != nil {
			return nil, fmt.Errorf("image %s: its binary: %w", image, err)
		}
	}
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, err
	}
	options.Dir = dir
	client, err := kubernetes.NewForConfig(withoutLimit(options.Config))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	block, err := reserveBlock()
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	n := &Node{
		options: options, client: client, log: log.New(options.Log, "", log.Ltime|log.Lmicroseconds), block: block,
		ctx: running, cancel: cancel, pods: map[types.UID]*pod{},
	}
	if n.logsPort, err = n.serveLogs(running); err != nil {
		n.Close()
		return nil, fmt.Errorf("serve the logs of Node %s: %w", options.NodeName, err)
	}
	if err := n.register(running); err != nil {
		n.Close()
		return nil, fmt.Errorf("register Node %s: %w", options.NodeName, err)
	}
	n.work.Go(func() { n.beat(running) })
	if err := n.follow(running); err != nil {
		n.Close()
		return nil, fmt.Errorf("watch the pods of Node %s: %w", options.NodeName, err)
	}
	return n, nil
}

// Close is the power switch: it kills every process of the node and returns when they are gone. The Node and its pods
// stay in the API as they are.
func (n *Node) Close() {
	n.cancel()
	n.work.Wait()
	n.block.release()
}

// Name returns the name of the Node.
func (n *Node) Name() string { return n.options.NodeName }

// Address returns the address of this machine at which the processes of a pod listen, for the address in the pod's
// status or in an EndpointSlice; "" if it is not one of this node.
func (n *Node) Address(podIP string) string { return n.block.local(podIP) }

// withoutLimit copies the config: a node that is slowed by its own client writes a late status.
func withoutLimit(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = -1, 0
	return config
}

func (n *Node) register(ctx context.Context) error {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.options.NodeName, Labels: map[string]string{
			Mark: "true", corev1.LabelHostname: n.options.NodeName, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
		}},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: Mark, Value: "true", Effect: corev1.TaintEffectNoSchedule}}},
	}
	nodes := n.client.CoreV1().Nodes()
	if _, err := nodes.Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		current, err := nodes.Get(ctx, node.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		current.Status = n.status()
		_, err = nodes.UpdateStatus(ctx, current, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return n.renew(ctx)
}

func (n *Node) status() corev1.NodeStatus {
	now := metav1.Now()
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return corev1.NodeStatus{
		Capacity: capacity(), Allocatable: capacity(),
		// No hostname: the API server would try to resolve it.
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: n.block.nodeAddress()}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(n.logsPort)}},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion: n.options.KubeletVersion, OperatingSystem: "linux", Architecture: runtime.GOARCH, ContainerRuntimeVersion: "process://1",
		},
		Conditions: []corev1.NodeCondition{
			condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "pods run as processes of this machine"),
			condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", ""),
			condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", ""),
			condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", ""),
		},
	}
}

// capacity is what the Node says it has. It only has to be enough: nothing is measured.
func capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"),
		corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
}

// beat renews the node's Lease as a kubelet does; the controller manager calls a Node without it lost after 40 seconds.
func (n *Node) beat(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := n.renew(ctx); err != nil && ctx.Err() == nil {
			n.log.Printf("node %s: renew the Lease: %v", n.Name(), err)
		}
	}
}

func (n *Node) renew(ctx context.Context) error {
	leases, seconds, now := n.client.CoordinationV1().Leases(corev1.NamespaceNodeLease), int32(40), metav1.NowMicro()
	name := n.Name()
	lease, err := leases.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
		lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &now}
		if _, err = leases.Create(ctx, lease, metav1.CreateOptions{}); apierrors.IsNotFound(err) {
			// A control plane that has just started has no namespace for Leases yet; the next beat finds it, and the
			// status written above counts as a heartbeat until then.
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec.RenewTime = &now
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}

// follow starts a pod's story when it is first seen, and passes on what changes.
func (n *Node) follow(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", n.Name()).String()
	}))
	informer := factory.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { n.see(object.(*corev1.Pod)) },
		UpdateFunc: func(_, object any) { n.see(object.(*corev1.Pod)) },
		DeleteFunc: func(object any) {
			if tomb, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tomb.Obj
			}
			if gone, ok := object.(*corev1.Pod); ok {
				n.lose(gone.UID)
			}
		},
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	n.work.Go(func() { <-ctx.Done(); factory.Shutdown() })
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return errors.Join(errors.New("the pods could not be listed"), ctx.Err())
	}
	return nil
}

func (n *Node) see(object *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known, ok := n.pods[object.UID]
	if ok {
		known.see(object)
		return
	}
	if n.ctx.Err() != nil {
		return
	}
	p, err := newPod(n, object.DeepCopy())
	if err != nil {
		n.log.Printf("pod %s/%s: %v", object.Namespace, object.Name, err)
		return
	}
	n.pods[object.UID] = p
	n.work.Go(func() { p.run(n.ctx) })
}

// lose ends the story of a pod that is no longer in the API.
func (n *Node) lose(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := n.pods[uid]; ok {
		p.vanish()
		delete(n.pods, uid)
	}
}

// addressBlock is the share of this machine's loopback addresses that one node hands out: 127.88.B.1 to 127.88.B.253.
// To the API they are 198.18.B.1 to 198.18.B.253, of the range that RFC 2544 sets aside for test benches.
type addressBlock struct {
	b    int
	held net.Listener

	mu   sync.Mutex
	used [254]bool
	last int
}

// reserveBlock reserves a B that no other node on this machine uses, in any process. A node listens on a port as its reservation.
func reserveBlock() (*addressBlock, error) {
	for try := range 256 {
		b := (os.Getpid() + try) % 256
		held, err := net.Listen("tcp", fmt.Sprintf("127.88.%d.254:39254", b))
		if err == nil {
			return &addressBlock{b: b, held: held}, nil
		}
	}
	return nil, errors.New("no block of loopback addresses 127.88.0.0/16 is free: port 39254 is taken in each, or only 127.0.0.1 answers (this needs Linux)")
}

func (a *addressBlock) release() { _ = a.held.Close() }

func (a *addressBlock) nodeAddress() string { return fmt.Sprintf("127.88.%d.254", a.b) }

func (a *addressBlock) hostIP() string { return fmt.Sprintf("198.18.%d.254", a.b) }

// take returns a free number. It continues after the last one, so that a stale connection to an ended pod fails for a while.
func (a *addressBlock) take() (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range a.used {
		a.last = a.last%253 + 1
		if !a.used[a.last] {
			a.used[a.last] = true
			return a.last, nil
		}
	}
	return 0, errors.New("all 253 addresses of the node are taken")
}

func (a *addressBlock) free(c int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used[c] = false
}

func (a *addressBlock) pair(c int) (shown, local string) {
	return fmt.Sprintf("198.18.%d.%d", a.b, c), fmt.Sprintf("127.88.%d.%d", a.b, c)
}

func (a *addressBlock) local(shown string) string {
	var b, c int
	if n, err := fmt.Sscanf(shown, "198.18.%d.%d", &b, &c); n != 2 || err != nil || b != a.b {
		return ""
	}
	_, local := a.pair(c)
	return local
}
