// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"crypto/rand"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

const (
	// previewLifetime is how long a preview can be confirmed, and how long its result can be read.
	previewLifetime = 10 * time.Minute
	// maxPreviews limits the number of previews in memory; the oldest ones are dropped.
	maxPreviews = 100
)

// preview is a change that a user has seen, and its result once it is confirmed.
type preview struct {
	id     string
	at     time.Time
	change diagnose.Change
	notes  []string // about what could not be read
	// differences are what has changed since the preview that this one replaces.
	differences []string
	// refusal is why the API server rejects the change; empty if the dry run succeeded.
	refusal string

	running sync.Mutex // held while the change is written, so that it is written once
	done    atomic.Pointer[outcome]
	applied atomic.Bool // the change waits for nothing
}

// result returns the outcome of the change, or nil if it is not confirmed yet.
func (p *preview) result() *outcome { return p.done.Load() }

func (p *preview) finish(done *outcome) { p.done.Store(done) }

// outcome is the result of writing each Service of a change.
type outcome struct{ writes []diagnose.WriteResult }

// previews keeps previews for previewLifetime. The zero value is ready to use.
type previews struct {
	mu   sync.Mutex
	held []*preview // in the order of their times
}

// add keeps a preview and gives it an id that cannot be guessed.
func (p *previews) add(one *preview, now time.Time) {
	one.id, one.at = rand.Text(), now
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = append(slices.DeleteFunc(p.held, func(held *preview) bool { return held.isExpired(now) }), one)
	p.held = slices.Delete(p.held, 0, max(len(p.held)-maxPreviews, 0))
}

// get returns a preview, or nil if it has expired.
func (p *previews) get(id string, now time.Time) *preview {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.held, func(held *preview) bool { return held.id == id })
	if at < 0 || p.held[at].isExpired(now) {
		return nil
	}
	return p.held[at]
}

func (p *preview) isExpired(now time.Time) bool { return now.Sub(p.at) >= previewLifetime }
