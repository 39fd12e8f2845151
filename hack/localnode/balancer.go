// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// Balancer listens on one port of 127.0.0.1 for one port of a Service, and forwards each new TCP connection to the next
// of its endpoints, as kube-proxy does: those that are ready; where none is, those that end but still serve; where none
// is, the connection is reset. A connection stays where it is.
type Balancer struct {
	node     *Node
	service  types.NamespacedName
	port     string
	slices   discoverylisters.EndpointSliceLister
	listener net.Listener
	cancel   context.CancelFunc
	work     sync.WaitGroup

	mu   sync.Mutex
	next int
	open map[net.Conn]bool
}

// Balance starts a Balancer for a port of a Service, named as in the Service; "" for its only one. The Service need not
// exist yet. It stops with Close or with the node.
func (n *Node) Balance(service types.NamespacedName, port string) (*Balancer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("balancer of Service %s: %w", service, err)
	}
	ctx, cancel := context.WithCancel(n.ctx)
	factory := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithNamespace(service.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.LabelSelector = labels.Set{discoveryv1.LabelServiceName: service.Name}.String()
		}))
	slices := factory.Discovery().V1().EndpointSlices()
	b := &Balancer{node: n, service: service, port: port, slices: slices.Lister(), listener: listener, cancel: cancel, open: map[net.Conn]bool{}}
	synced := slices.Informer().HasSynced
	factory.Start(ctx.Done())
	n.work.Go(func() {
		<-ctx.Done()
		b.shut()
		factory.Shutdown()
	})
	if !cache.WaitForCacheSync(ctx.Done(), synced) {
		b.Close()
		return nil, fmt.Errorf("balancer of Service %s: its EndpointSlices could not be listed", service)
	}
	b.work.Go(b.accept)
	return b, nil
}

// Address returns where the balancer listens, as "127.0.0.1:port".
func (b *Balancer) Address() string { return b.listener.Addr().String() }

// Endpoints returns the addresses that receive new connections now, as "host:port" of this machine, sorted.
func (b *Balancer) Endpoints() []string {
	list, err := b.slices.List(labels.Everything())
	if err != nil {
		return nil
	}
	var ready, ending []string
	for _, slice := range list {
		port, ok := b.portOf(slice)
		if !ok {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			is := endpoint.Conditions
			terminating := isTrue(is.Terminating)
			for _, shown := range endpoint.Addresses {
				address := b.node.Address(shown)
				if address == "" {
					continue // of a pod that nothing runs
				}
				address = net.JoinHostPort(address, port)
				switch {
				case !terminating && (is.Ready == nil || *is.Ready):
					ready = append(ready, address)
				case terminating && isTrue(is.Serving):
					ending = append(ending, address)
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.Sort(ready)
	return slices.Compact(ready)
}

// Close stops listening and ends the connections.
func (b *Balancer) Close() {
	b.cancel()
	b.shut()
	b.work.Wait()
}

func (b *Balancer) portOf(slice *discoveryv1.EndpointSlice) (string, bool) {
	for _, port := range slice.Ports {
		named := port.Name != nil && *port.Name == b.port || b.port == "" && len(slice.Ports) == 1
		if named && port.Port != nil {
			return strconv.Itoa(int(*port.Port)), true
		}
	}
	return "", false
}

func (b *Balancer) accept() {
	for {
		client, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			b.node.log.Printf("balancer of Service %s: %v", b.service, err)
			continue
		}
		if b.hold(client) {
			b.work.Go(func() { b.pass(client) })
		}
	}
}

// pass connects a client with the next endpoint and copies until both sides are done.
func (b *Balancer) pass(client net.Conn) {
	defer b.drop(client)
	endpoint, ok := b.choose()
	if !ok {
		reset(client)
		return
	}
	server, err := net.Dial("tcp", endpoint)
	if err != nil {
		reset(client)
		return
	}
	if !b.hold(server) {
		return
	}
	defer b.drop(server)
	var both sync.WaitGroup
	both.Go(func() { pour(server, client) })
	both.Go(func() { pour(client, server) })
	both.Wait()
}

func (b *Balancer) choose() (string, bool) {
	endpoints := b.Endpoints()
	if len(endpoints) == 0 {
		return "", false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return endpoints[b.next%len(endpoints)], true
}

// hold notes an open connection, or closes it if the balancer has been closed meanwhile.
func (b *Balancer) hold(connection net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		_ = connection.Close()
		return false
	}
	b.open[connection] = true
	return true
}

func (b *Balancer) drop(connection net.Conn) {
	_ = connection.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, connection)
}

func (b *Balancer) shut() {
	_ = b.listener.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	for connection := range b.open {
		_ = connection.Close()
	}
	b.open = nil
}

// pour copies until the source ends, and passes that on; an error ends both sides.
func pour(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.Close()
		_ = from.Close()
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// reset closes with a TCP reset, which a client sees as a refused or broken connection and not as an empty answer.
func reset(connection net.Conn) {
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}
