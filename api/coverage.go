// SPDX-License-Identifier: Apache-2.0

package api

import corev1 "k8s.io/api/core/v1"

// ProxyContainer is the name of the container that Istio adds to a pod.
const ProxyContainer = "istio-proxy"

// PodKind is a group of pods with the same labels and workload that also agree in everything that their sidecar depends on.
type PodKind struct {
	ID   any                // comparable; the same ID always means the same kind
	Pods int                // that are not terminating
	Pod  func() *corev1.Pod // returns one of them, with the fields that inject.CoverageByImage needs
}

// CoverageState is how a running pod compares with the pod that injection would return now.
type CoverageState string

// The states of coverage. They do not apply to a pod that should have no sidecar.
const (
	CoverageCovered  CoverageState = "covered"
	CoverageMissing  CoverageState = "missing"
	CoverageOutdated CoverageState = "outdated"
)

// CoverageReason is why a pod has its CoverageState.
type CoverageReason string

// The reasons of coverage.
const (
	CoverageUpToDate    CoverageReason = "UpToDate"
	CoverageNotCompared CoverageReason = "NotCompared"

	CoverageNoSidecar CoverageReason = "NoSidecar"

	CoverageRevision      CoverageReason = "DifferentRevision"
	CoverageImage         CoverageReason = "DifferentImage"
	CoverageContainers    CoverageReason = "DifferentContainers"
	CoverageConfiguration CoverageReason = "DifferentConfiguration"

	CoverageDenied CoverageReason = "NewPodDenied"
)

// CoverageReasonDoc documents a reason of coverage and the states that have it.
type CoverageReasonDoc struct {
	Reason CoverageReason
	States []CoverageState
	Doc    string
}

// CoverageReasons returns every reason of coverage, by state.
func CoverageReasons() []CoverageReasonDoc {
	covered, missing, outdated := []CoverageState{CoverageCovered}, []CoverageState{CoverageMissing}, []CoverageState{CoverageOutdated}
	return []CoverageReasonDoc{
		{CoverageUpToDate, covered, "The pod has the sidecar that a new one would get."},
		{CoverageNotCompared, covered, "The pod defines its own proxy, or the record of its sidecar cannot be read, so it is not compared."},
		{CoverageNoSidecar, missing, "The pod has no sidecar and a new one would get it: it is older than the label, or was created while no injector answered."},
		{CoverageRevision, outdated, "The sidecar has another revision than a new one would have."},
		{CoverageImage, outdated, "A container of the sidecar has another image than a new one would have."},
		{CoverageContainers, outdated, "A new pod would have other containers of the sidecar, or have them in another place, for example as native sidecars."},
		{CoverageConfiguration, outdated, "A container of the sidecar has other arguments or environment variables than a new one would have."},
		{CoverageDenied, append(missing, outdated...), "A new pod would be denied, so a restart would not help. Fix the reason of the denial first."},
	}
}
