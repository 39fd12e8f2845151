// SPDX-License-Identifier: Apache-2.0

// Package controlplane builds and starts a real Kubernetes control plane on this machine: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler, with kwok as the kubelet of nodes that run nothing. Tests and the demo
// share it.
//
// Whatever is created there passes the real admission chain, the real controllers and the real scheduler; pods on
// kwok's nodes become Running and Ready and get addresses, but no container runs. Nodes without kwok's annotation are
// left alone, so that package localnode can act as their kubelet.
//
// A control plane ends with Stop, and with its owner, however that dies: nothing of it is left on the machine.
package controlplane
