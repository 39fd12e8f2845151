// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// ReadyAnnotation on a pod of kwok's makes it unready while its value is "false": from its start, or from then on.
const ReadyAnnotation = "controlplane.test/ready"

// nodeAnnotation marks the nodes whose kubelet kwok plays; their value of it is "fake".
const nodeAnnotation = "kwok.x-k8s.io/node"

// Node is a node whose kubelet kwok plays.
type Node struct {
	Name           string
	KubeletVersion string // that it reports, e.g. "v1.32.0"; "" = Kubernetes()
	Labels         map[string]string
}

// AddKwokNode creates a node whose kubelet kwok plays and waits until it is Ready. kubeletVersion is what it reports;
// "" = Kubernetes().
func (c *ControlPlane) AddKwokNode(ctx context.Context, name, kubeletVersion string) error {
	node := Node{Name: name, KubeletVersion: kubeletVersion}
	if err := c.createNode(ctx, node); err != nil {
		return err
	}
	return c.waitReady(ctx, []Node{node})
}

func (c *ControlPlane) createNode(ctx context.Context, n Node) error {
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return err
	}
	if n.KubeletVersion == "" {
		n.KubeletVersion = Kubernetes()
	}
	labels := map[string]string{
		corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", "type": "kwok",
	}
	for key, value := range n.Labels {
		labels[key] = value
	}
	resources := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1k"), corev1.ResourceMemory: resource.MustParse("1Ti"),
		corev1.ResourcePods: resource.MustParse("1M"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
	number := c.nodes.Add(1)
	_, err = client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: labels, Annotations: map[string]string{nodeAnnotation: "fake"}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.32.%d.%d", number/250, number%250+1)},
				{Type: corev1.NodeHostName, Address: n.Name},
			},
			Capacity: resources, Allocatable: resources,
			NodeInfo: corev1.NodeSystemInfo{
				KubeletVersion: n.KubeletVersion, OperatingSystem: "linux", Architecture: "amd64",
				ContainerRuntimeVersion: "kwok://" + KwokVersion, OSImage: "none", KernelVersion: "none",
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create node %s: %w", n.Name, err)
	}
	return nil
}

// waitReady waits until the nodes are Ready and carry no taint, and the namespace "default" has what pods mount.
func (c *ControlPlane) waitReady(ctx context.Context, nodes []Node) error {
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return err
	}
	check := func() error {
		for _, n := range nodes {
			node, err := client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !ready(node) || len(node.Spec.Taints) > 0 {
				return fmt.Errorf("node %s is not Ready, or has taints: %v", n.Name, node.Spec.Taints)
			}
		}
		if _, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return err
		}
		_, err := client.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the control plane does not work: %w", err), ctx.Err(), c.failed())
		case <-tick.C:
		}
	}
}

func ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// failed returns an error for every component that has ended by itself.
func (c *ControlPlane) failed() error {
	var errs []error
	for _, running := range c.components {
		select {
		case <-running.ended:
			errs = append(errs, fmt.Errorf("%s ended: %s\n%s", running.name, running.command.ProcessState, c.tail(running.name)))
		default:
		}
	}
	return errors.Join(errs...)
}
