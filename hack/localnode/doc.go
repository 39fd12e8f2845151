// SPDX-License-Identifier: Apache-2.0

// Package localnode plays the kubelet of one Node and runs the containers of its pods as processes of this machine.
// It is for testing: what a simulated node cannot tell — a binary that does not start, a probe that fails, a SIGTERM
// that is not heard, an exit code — is real here, without containers and without root.
//
// What is as on a real node: init containers and native sidecars in their order, restart policies, environment
// (values, fields, Secrets, ConfigMaps), mounted Secrets, ConfigMaps, projected, downward and empty volumes, the
// pod's own ServiceAccount token, startup, readiness and liveness probes, preStop sleeps, termination with its grace
// period, status and exit codes written back.
//
// What differs:
//   - An image is a local binary, the image's entrypoint. Users, capabilities, a read-only root, resource limits and
//     activeDeadlineSeconds are not enforced. "kubectl logs" works, "kubectl exec" does not.
//   - A file of a volume is not at its mountPath: the path is rewritten where it occurs in command, args and
//     environment values, not inside files. A container that mounts a folder at /tmp gets it as TMPDIR.
//   - In-cluster access would need the address of the kubernetes Service, so a container that mounts a ServiceAccount
//     token gets KUBECONFIG instead.
//   - Every pod has its own loopback address, and its processes must listen only on that address, or two pods
//     with the same port collide: the downward field status.podIP is this address for the process. EndpointSlices
//     refuse loopback addresses, so the status of the pod shows another one (see Node.Address).
//   - Only http, https and tcp probes are made.
//
// It needs Linux, where all of 127.0.0.0/8 is local and a child process can be killed with its parent.
package localnode
