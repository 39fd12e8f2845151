// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"fmt"
	"sync"

	"outrigger.dev/outrigger/inject"
)

// answers reviews pods with what it keeps from earlier ones: the answers that pods got, for the replicas of their
// workloads, and the shapes of what templates printed, for any pod. The zero value is ready for use.
//
// An answer belongs to one configuration. inject.Config.With returns the same one for facts that change no decision, such
// as one more node with the same kubelet version, so such facts invalidate nothing. A shape belongs to a text alone.
type answers struct {
	cache boundedCache

	mu         sync.Mutex
	config     *inject.Config // of the last review
	generation int            // counts the changes of config
}

// knownAnswer is the answer that one pod got. Replicas get it once a second one got the same: this confirms by observation that the
// answer does not depend on the name, in addition to what the templates read.
type knownAnswer struct {
	report    inject.Report
	patch     []byte
	omitted   string // what was left out of the key
	confirmed bool
}

// review returns the answer of an earlier replica, or that of inject.Review.
func (a *answers) review(received inject.Received, config *inject.Config) (inject.Answer, error) {
	replica := inject.ReplicaOf(received, fmt.Sprintf("answer %d ", a.generationOf(config)))
	found, has := a.cache.get(replica.Key)
	first, _ := found.(*knownAnswer)
	if has && first.confirmed {
		return inject.Answer{Report: first.report, Patch: first.patch}, nil
	}
	received.Shapes = a
	answer, err := inject.Review(received, config)
	if err != nil || !config.SharesAnswer(answer) {
		return answer, err
	}
	known := &knownAnswer{report: answer.Report, patch: answer.Patch, omitted: replica.Omitted, confirmed: replica.Omitted == ""}
	if has && first.omitted != known.omitted && bytes.Equal(first.patch, known.patch) {
		known.confirmed = true
	}
	a.cache.put(replica.Key, known, len(known.patch)+len(known.omitted))
	return answer, nil
}

// generationOf returns a number that differs between successive configurations.
func (a *answers) generationOf(config *inject.Config) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.config != config {
		a.config = config
		a.generation++
	}
	return a.generation
}

// Shape implements inject.Shapes.
func (a *answers) Shape(key []byte) *inject.Shape {
	found, _ := a.cache.get(append([]byte("shape "), key...))
	shape, _ := found.(*inject.Shape)
	return shape
}

// KeepShape implements inject.Shapes.
func (a *answers) KeepShape(key []byte, shape *inject.Shape, size int) {
	a.cache.put(append([]byte("shape "), key...), shape, size)
}
