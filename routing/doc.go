// SPDX-License-Identifier: Apache-2.0

// Package routing computes the DestinationRule, VirtualServices, and Gateway of a Service from the versions of its pods and the
// annotations of the Service. It is pure: everything it depends on is a field of Observed or the time, so the same input gives the
// same bytes.
//
// Call Plan with an Observed: it returns the objects, when to plan again (Result.Next, Result.DependsOn), and the Problems to report.
// Call Observed.Changes for the ordered writes. PlanOffline plans without a cluster. Read explains existing objects.
//
// Comments call Outrigger's objects for the Service "our objects", also "ours". Foreign objects are all others, whoever wrote them.
// What must survive a restart is recorded on our objects.
//
// # The steps of a plan
//
//	step                 file
//	Plan, observe        plan.go, modes.go: a dry run plans several times; freeze.go: frozen routes stay
//	read                 reader.go: our objects (names.go, replaced.go) and their record (copies.go, seal.go), annotations (invalid.go,
//	                     reserved.go, canary_record.go), delays (failover.go)
//	endWithoutRoutes     skipped.go
//	interpret            tracks.go, version_label.go, copies.go, subsets.go, conflicts.go, drift.go
//	endWithoutDecision   plan.go, copies.go, modes.go, conflicts.go; unchanged.go: what is restored then
//	judgeEdits           subset_meaning.go, drift.go
//	decide               decision.go: decideDefault in defaults.go, first_default.go, split.go, default_deleted.go, failover.go;
//	                     decideExposure in gateway.go, current_exposure.go; decideExport in export.go; decidePolicy in inherit.go;
//	                     decideCanary in canary.go, canary_start.go, canary_steps.go, canary_evaluate.go, canary_checks.go,
//	                     canary_auto.go, canary_end.go;
//	                     decideRoute in decision.go, weights.go, match.go, shares.go, sticky.go, mirror.go
//	render               render.go, render_route.go, render_destination_rule.go, limits.go
//	finish               plan.go, seal.go, replaced.go
//
// # The states of a version
//
//	state     what is true                                            next state, and its cause
//	unknown   it has neither pods nor a subset                        waiting: a pod appears
//	waiting   it has pods and a subset; too few pods are ready, or    ready: three quarters of the pods are ready (one with decided-at),
//	          the proxies do not know them or the subset yet          and the proxies know them; draining: its last pod is gone
//	ready     it can receive requests, and no decision sends it any   routed: a decision takes effect; waiting: too few pods are ready;
//	                                                                  draining: its last pod is gone
//	routed    a route names its subset, whether its pods are ready    ready: no route names it; absent: its workload is deleted
//	          or not                                                  with its pods, or scaled to 0
//	absent    the default, or the one version that remains, receives  routed: it is ready again; draining: no route names it
//	          its share
//	draining  it has no pods, and no route names it; its subset is    unknown: the retention of subsets has elapsed; waiting: a pod
//	          kept for requests on their way                          appears
//
// # The states of a route
//
//	state        what is true                                         next state, and its cause
//	none         there is no VirtualService for callers in the mesh   provisional or settled: a version exists, and what was created
//	                                                                  together was seen together; split: versions receive traffic already
//	provisional  the default is automatic, no pod of it is ready, and settled: a pod is ready, the settling time has elapsed, or what is
//	             it may be revised; or weights wait for their pods    written can be followed
//	settled      the recorded decision applies                        settled: a later decision; held; detached; none: routing is disabled
//	split        several versions received traffic before; all pods   settled: you decide, or one version remains
//	             receive requests
//	held         the records contradict each other, or are lost;      settled: you decide, or a copy of the record is restored
//	             all objects stay as they are
//	detached     you edited more of a VirtualService than its shares; settled: you delete it or set outrigger.dev/drift=revert
//	             it is no longer written
package routing
