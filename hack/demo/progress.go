// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// silence is the longest time without a line about a long preparation, where there is no terminal.
const silence = 2 * time.Minute

// progress shows the lines of a long preparation: one line of the terminal that changes, or plain lines elsewhere. A line
// that begins with a space repeats what is being done; without a terminal, few of these are printed.
type progress struct {
	screen *screen
	now    func() time.Time
	stop   chan struct{}
	ended  sync.WaitGroup
	once   sync.Once

	mutex   sync.Mutex
	partial string    // a line without its end
	current string    // what is being done
	since   time.Time // since when; without a terminal, when the last line was printed
}

// newProgress shows progress until it is closed.
func newProgress(s *screen) *progress {
	p := &progress{screen: s, now: time.Now, stop: make(chan struct{})}
	if s.terminal {
		p.ended.Go(p.redraw)
	}
	return p
}

func (p *progress) redraw() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mutex.Lock()
			p.draw()
			p.mutex.Unlock()
		}
	}
}

// Write takes whole or partial lines.
func (p *progress) Write(text []byte) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	lines := strings.Split(p.partial+string(text), "\n")
	p.partial = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		repeated := strings.HasPrefix(line, " ")
		switch {
		case p.screen.terminal && !repeated:
			p.current, p.since = line, p.now()
			p.draw()
		case !p.screen.terminal && (!repeated || p.now().Sub(p.since) >= silence):
			p.since = p.now()
			p.screen.plain(line + "\n")
		}
	}
	return len(text), nil
}

// draw replaces the progress line of the terminal. It truncates the text, because a line that wraps cannot be replaced.
func (p *progress) draw() {
	if p.current == "" {
		return
	}
	line, elapsed := []rune(p.current), ""
	if took := p.now().Sub(p.since).Truncate(time.Second); took > 0 {
		elapsed = fmt.Sprintf(" %v", took)
	}
	if room := 78 - len(elapsed); len(line) > room {
		line = append(line[:room-1], '…')
	}
	p.screen.plain("\r\x1b[K" + p.screen.paint(faint, string(line)+elapsed))
}

// close removes the line of the terminal. Only the first call has an effect.
func (p *progress) close() {
	p.once.Do(func() {
		close(p.stop)
		p.ended.Wait()
		if p.screen.terminal {
			p.screen.plain("\r\x1b[K")
		}
	})
}
