// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing/controller"
)

// incremental computes the same values for consecutive readings of the cluster, and recomputes a value only if it may have changed.
//
// A computation is recorded with what it read: lists, objects, and values of other computations. Each of these has a version that counts its
// changes. Lists and objects are compared in each reading, by UID and resourceVersion. A value is current if the versions of everything that
// it was computed from are the same, and the time at which it changes by itself has not come.
type incremental struct {
	mu       sync.Mutex // held during a reading
	number   int        // of the reading, starting at 1
	reading  reading
	values   map[any]*computed
	reads    *[]dependency           // of the computation that is running; nil if none is
	index    *controller.ObjectIndex // of Istio's objects
	settings any                     // what all values depend on
	gaps     diagnose.Gaps           // of the last reading: all values depend on them
}

// reading is what computations read from. They must not keep it: the next reading has another one.
type reading struct {
	*live
	from *snapshot
}

// compute returns a value, and when it changes by itself; zero for never.
type compute func(ctx context.Context, r reading) (value any, until time.Time, err error)

// computed is a value, and what it was computed from.
type computed struct {
	compute compute
	value   any
	until   time.Time
	reads   []dependency // none for a list or an object
	version int          // of the value, starting at 1
	checked int          // the last reading for which the value is current
}

// dependency is a value that another one was computed from.
type dependency struct {
	on      *computed
	version int
}

// begin starts a reading. It forgets all values if the settings, or the kinds that the cluster has, have changed since the last reading.
func (c *incremental) begin(r reading) error {
	kinds, err := r.sources(r.from).OtherKinds()
	if err != nil {
		return err
	}
	c.number++
	c.reading, c.reads = r, nil
	if settings := []any{r.config, r.configs, r.settings(), kinds}; c.values == nil || !reflect.DeepEqual(c.settings, settings) {
		c.forget()
		c.settings = settings
	}
	return nil
}

func (c *incremental) forget() {
	c.values, c.index, c.gaps = map[any]*computed{}, controller.NewObjectIndex(c.reading.settings().ClusterDomain), nil
}

// end ends a reading. It returns false, and forgets all values, if the user's permissions have changed, so that values may differ.
func (c *incremental) end(gaps diagnose.Gaps) bool {
	defer func() { c.reading = reading{} }() // its lists take much memory
	if c.gaps != nil && !maps.Equal(c.gaps, gaps) {
		c.forget()
		return false
	}
	c.gaps = maps.Clone(gaps)
	maps.DeleteFunc(c.values, func(_ any, v *computed) bool { return v.checked != c.number })
	return true
}

// get returns the value of a key. It computes the value if it is not current.
func (c *incremental) get(ctx context.Context, key any, how compute) (any, error) {
	v := c.values[key]
	if v == nil {
		v = &computed{compute: how}
		c.values[key] = v
	}
	if err := c.check(ctx, v); err != nil {
		return nil, err
	}
	if read := (dependency{v, v.version}); c.reads != nil && !slices.Contains(*c.reads, read) {
		*c.reads = append(*c.reads, read)
	}
	return v.value, nil
}

// check recomputes a value if it is not current.
func (c *incremental) check(ctx context.Context, v *computed) error {
	if v.checked == c.number {
		return nil
	}
	isCurrent, err := c.isCurrent(ctx, v)
	if err != nil {
		return err
	}
	if !isCurrent {
		outer, reads := c.reads, []dependency(nil)
		c.reads = &reads
		value, until, err := v.compute(ctx, c.reading)
		c.reads = outer
		if err != nil {
			return err
		}
		if v.version == 0 || !reflect.DeepEqual(v.value, value) {
			v.value = value
			v.version++
		}
		v.until, v.reads = until, slices.Clip(reads)
	}
	v.checked = c.number
	return nil
}

// isCurrent compares what a value was computed from, in the order in which it was read: what was read later may not exist any more.
func (c *incremental) isCurrent(ctx context.Context, v *computed) (bool, error) {
	if len(v.reads) == 0 || !v.until.IsZero() && !c.reading.now().Before(v.until) {
		return false, nil
	}
	for _, read := range v.reads {
		if err := c.check(ctx, read.on); err != nil {
			return false, err
		}
		if read.on.version != read.version {
			return false, nil
		}
	}
	return true, nil
}

// valueIn returns a value of a reading. It reuses a value of an earlier reading only in a stream of readings.
func valueIn[T any](ctx context.Context, r reading, key any, how func(context.Context, reading) (T, time.Time, error)) (T, error) {
	if r.from.kept == nil {
		value, _, err := how(ctx, r)
		return value, err
	}
	value, err := r.from.kept.get(ctx, key, func(ctx context.Context, r reading) (any, time.Time, error) { return how(ctx, r) })
	if err != nil {
		var none T
		return none, err
	}
	return value.(T), nil
}

// note records that the running computation reads something from the snapshot. read returns a value that is equal as long as nothing in it
// has changed.
func (s *snapshot) note(ctx context.Context, key any, read func(context.Context, *snapshot) (any, error)) error {
	if s.kept == nil || s.kept.reads == nil {
		return nil
	}
	_, err := s.kept.get(ctx, key, func(ctx context.Context, r reading) (any, time.Time, error) {
		value, err := read(ctx, r.from)
		return value, time.Time{}, err
	})
	return err
}

// The keys of what computations read.
type (
	objectRead struct {
		kind            reflect.Type
		namespace, name string
	}
	listRead struct {
		kind                any // a type, or the GroupVersionKind of an unstructured list
		namespace, selector string
	}
	termRead      struct{ term string }
	indexRead     struct{}
	meshRead      struct{}
	workloadsRead struct{ namespace string }
	namesRead     struct{ namespace string }
	sidecarsRead  struct{ namespace string }
	serviceRead   struct{ namespace, name string }
)

// versionOf returns a text that is equal for equal objects. It is empty for nil.
func versionOf(o item) string {
	if o == nil {
		return ""
	}
	return fmt.Sprintf("%s/%s %s %s", o.GetNamespace(), o.GetName(), o.GetUID(), o.GetResourceVersion())
}

// versionsOf returns a digest that is equal for lists of equal objects.
func versionsOf[T identity](items []T) [sha256.Size]byte {
	digest := sha256.New()
	var text []byte
	for _, o := range items {
		text = text[:0]
		for _, part := range []string{o.GetNamespace(), o.GetName(), string(o.GetUID()), o.GetResourceVersion()} {
			text = append(append(text, part...), 0)
		}
		_, _ = digest.Write(text) // it never fails
	}
	return [sha256.Size]byte(digest.Sum(nil))
}
