// SPDX-License-Identifier: Apache-2.0

// Package inject decides whether a pod gets Istio's sidecar, and returns the resulting pod, the reason, and the patch.
//
// Call Parse with the texts of Istio's ConfigMaps, Config.With with what the cluster adds to them, and then Review for each
// pod that a webhook receives, or Pod for a pod that is already decoded. A pod passes through these steps, each in the file
// of its name: decide, check (validate.go, size.go), render, merge, finish, and jsonpatch.Diff.
//
// The package is pure and keeps nothing: the result depends on the arguments alone, and a Config is immutable. What a caller
// keeps between pods to answer faster, it passes as Received.Shapes, or finds by ReplicaOf.
package inject
