// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"container/list"
	"sync"
)

// cacheLimit bounds what all levels of a configuration's cache hold together, in bytes of keys and values.
const cacheLimit = 64 << 20

// largestEntry keeps a single enormous pod from emptying the cache.
const largestEntry = cacheLimit / 16

// level is what an entry of the cache is about. It is the first byte of the entry's key.
type level byte

const (
	answerLevel      level = 'a' // the patch of a received pod, but for what differs between replicas
	skeletonLevel    level = 's' // the tree of a rendered text, but for names in it
	proxyConfigLevel level = 'p' // the effective ProxyConfig of a namespace, an annotation and a set of resources
	annotationLevel  level = 'v' // what is wrong with a ProxyConfig annotation
)

// cache holds what one generation of the configuration has worked out already. A nil cache holds nothing. What is in it
// is shared and never changed.
type cache struct {
	mu      sync.Mutex
	entries map[string]*list.Element
	recent  *list.List // the latest used first
	bytes   int
	limit   int
}

type entry struct {
	key   string
	value any
	cost  int
}

func newCache(limit int) *cache {
	return &cache{entries: map[string]*list.Element{}, recent: list.New(), limit: limit}
}

// get returns the value of a key that begins with its level.
func (c *cache) get(key []byte) (any, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found, has := c.entries[string(key)]
	if !has {
		return nil, false
	}
	c.recent.MoveToFront(found)
	return found.Value.(*entry).value, true
}

// overhead is about what an entry costs beside its key and value.
const overhead = 256

// put keeps a value of about that many bytes and forgets what was not used for the longest time.
func (c *cache) put(key []byte, value any, size int) {
	cost := size + len(key) + overhead
	if c == nil || cost > largestEntry {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, has := c.entries[string(key)]; has {
		c.forget(old)
	}
	e := &entry{key: string(key), value: value, cost: cost}
	c.entries[e.key] = c.recent.PushFront(e)
	c.bytes += cost
	for c.bytes > c.limit {
		c.forget(c.recent.Back())
	}
}

func (c *cache) forget(element *list.Element) {
	e := c.recent.Remove(element).(*entry)
	delete(c.entries, e.key)
	c.bytes -= e.cost
}
