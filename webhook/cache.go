// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"container/list"
	"sync"
)

// cacheLimit bounds the memory of everything that is kept from earlier pods, in bytes of keys and values.
const cacheLimit = 64 << 20

// boundedCache keeps values by key and forgets those that were not used for the longest time. The zero value is ready for use.
// Its values are shared and never changed.
type boundedCache struct {
	mu      sync.Mutex
	entries map[string]*list.Element
	recent  list.List // the last used first
	bytes   int
	limit   int // cacheLimit unless a test sets it
}

type cachedValue struct {
	key   string
	value any
	cost  int
}

// overhead is about what an entry costs besides its key and value.
const overhead = 256

func (c *boundedCache) get(key []byte) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, has := c.entries[string(key)]
	if !has {
		return nil, false
	}
	c.recent.MoveToFront(found)
	return found.Value.(*cachedValue).value, true
}

// put keeps a value of about so many bytes. It ignores a value so large that it would displace many others.
func (c *boundedCache) put(key []byte, value any, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit == 0 {
		c.limit = cacheLimit
	}
	cost := size + len(key) + overhead
	if cost > c.limit/16 {
		return
	}
	if c.entries == nil {
		c.entries = map[string]*list.Element{}
	}
	if old, has := c.entries[string(key)]; has {
		c.forget(old)
	}
	e := &cachedValue{key: string(key), value: value, cost: cost}
	c.entries[e.key] = c.recent.PushFront(e)
	c.bytes += cost
	for c.bytes > c.limit {
		c.forget(c.recent.Back())
	}
}

func (c *boundedCache) forget(element *list.Element) {
	e := c.recent.Remove(element).(*cachedValue)
	delete(c.entries, e.key)
	c.bytes -= e.cost
}
