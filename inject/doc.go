// SPDX-License-Identifier: Apache-2.0

// Package inject decides whether a pod gets Istio's sidecar, and returns the resulting pod, the reason, and the patch.
//
// Call Parse on Istio's ConfigMaps, then Config.With to add facts about the cluster. Then call Review for each pod that a webhook
// receives, or Pod for a pod that is already decoded. Uninject reverses an injection.
//
// Pod (pod.go) runs the steps: decide, check (size.go, validate.go), newJob (the pod's settings: mesh.go, environment.go; its templates:
// render.go), merge (which renders each template: render.go, checks it: unsafe.go, and merges it: strategic.go), reapply (merge.go), finish
// (finish.go, prometheus.go, probes.go), and newFaults (faults.go). Each step may deny the pod. KeyProblems and warnInjected (warn.go)
// only warn. Review (review.go) decodes the pod before them and adds jsonpatch.Diff after them.
//
// The package is pure and keeps nothing: the result depends on the arguments alone, and a Config is immutable. What a caller
// keeps between pods to answer faster, it passes as Received.Shapes, or finds by ReplicaOf.
package inject
