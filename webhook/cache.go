// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"sync"

	"k8s.io/utils/lru"
)

// cacheLimit bounds the memory of everything that is kept from earlier pods, in bytes of keys and values.
const cacheLimit = 64 << 20

// boundedCache keeps values by key and forgets those that were not used for the longest time. The zero value is ready for use.
// Its values are shared and never changed.
type boundedCache struct {
	mu      sync.Mutex
	entries *lru.Cache // cachedValues by key; nil until the first one
	bytes   int
	limit   int // cacheLimit unless a test sets it
}

type cachedValue struct {
	value any
	cost  int
}

// overhead is about what an entry costs besides its key and value.
const overhead = 256

func (c *boundedCache) get(key []byte) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		return nil, false
	}
	found, has := c.entries.Get(string(key))
	kept, _ := found.(cachedValue)
	return kept.value, has
}

// put keeps a value of about so many bytes. It ignores a value so large that it would displace many others.
func (c *boundedCache) put(key []byte, value any, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.limit = cmp.Or(c.limit, cacheLimit)
		c.entries = lru.NewWithEvictionFunc(0, func(_ lru.Key, forgotten any) { c.bytes -= forgotten.(cachedValue).cost })
	}
	cost := size + len(key) + overhead
	if cost > c.limit/16 {
		return
	}
	c.entries.Remove(string(key))
	c.entries.Add(string(key), cachedValue{value, cost})
	for c.bytes += cost; c.bytes > c.limit; {
		c.entries.RemoveOldest()
	}
}
